"""Ray Tune search spaces over the library's own configs, one file per config."""
