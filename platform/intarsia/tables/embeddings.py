"""The tables `text_embeddings` and `image_embeddings`: one unit vector per product and view."""

from __future__ import annotations

import pyarrow as pa

from intarsia.tables.schema import TableSpec


def embeddings_spec(modality: str) -> TableSpec:
    """The table of one modality, `text` or `image`.

    `view` numbers the vectors of a product from 0 (its images in order; text has one view). `content_sha256` is the
    digest of the encoded content and `space_id` the vector space of the encoder; both together are the cache key.
    """
    return TableSpec(
        name=f"{modality}_embeddings",
        version=1,
        schema=pa.schema(
            [
                ("product_id", pa.string()),
                ("view", pa.int32()),
                ("content_sha256", pa.string()),
                ("space_id", pa.string()),
                ("vector", pa.list_(pa.float32())),
            ]
        ),
    )


TEXT_EMBEDDINGS = embeddings_spec("text")
IMAGE_EMBEDDINGS = embeddings_spec("image")
