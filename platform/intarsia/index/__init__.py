"""Indexes over one catalog: exact and approximate vector search, BM25, filters and facets."""
