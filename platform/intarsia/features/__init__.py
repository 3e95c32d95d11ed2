"""Ranking features of a candidate, computed by the same code offline and online."""
