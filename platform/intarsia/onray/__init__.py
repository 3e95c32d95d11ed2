"""The only room of the library that imports ray: sessions, and arrays and tables through Ray's workers."""
