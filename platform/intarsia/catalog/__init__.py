"""From a shop's raw files to clean products: reading, mapping, cleaning, checking, duplicates; and the columns that serving reads."""
