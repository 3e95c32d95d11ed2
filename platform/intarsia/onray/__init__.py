"""The only package of the library that imports ray: sessions, encoding, training and hyper-parameter search."""
