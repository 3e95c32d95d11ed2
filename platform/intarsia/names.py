"""Names of retrievers and modalities, in the order in which they are stored and shown."""

from __future__ import annotations

ENCODED_MODALITIES = ("text", "image")
"""Modalities of a product that an encoder turns into vectors."""

RETRIEVERS = ("bm25", *ENCODED_MODALITIES, "aligned")
"""All first-stage retrievers; the columns of candidate scores keep this order."""

VECTOR_RETRIEVERS = (*ENCODED_MODALITIES, "aligned")
"""Retrievers that search a vector index."""

TEXT_RETRIEVERS = ("bm25", "text")
"""Retrievers that read text only, of the query and of the product."""

IMAGE_RETRIEVERS = frozenset({"image"})
"""Retrievers that need an image in the query."""
