"""The nouns: frozen dataclasses over NumPy, one file each. How they are written down is `tables/`'s matter."""
