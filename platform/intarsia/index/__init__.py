"""Finding rows: exact and approximate vectors, BM25, filters and facets. How results are fused is `fusion/`'s matter."""
