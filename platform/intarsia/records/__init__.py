"""Central data types: frozen dataclasses over NumPy arrays. Their Arrow schemas: see `tables/`."""
