"""Ray Tune search spaces over the library's configs, one file per config, and the searches over them."""
