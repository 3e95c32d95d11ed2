"""The features, one file per theme; only `features/default_set.py` imports them."""
