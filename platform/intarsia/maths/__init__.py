"""Array arithmetic shared by several packages: nDCG, unit vectors, grouped reductions. NumPy only."""
