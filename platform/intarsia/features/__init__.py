"""What the ranker knows of a candidate, computed by one code offline and online. What a score makes of it is `ranking/`'s matter."""
