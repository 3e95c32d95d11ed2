"""The only package of the library that imports ray: sessions, encoding and training on workers, and hyper-parameter search."""
