"""Embedding tables as a store of vectors by content: known vectors are reused, and one row per product view is written.

Letters: N contents, D width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intarsia.encoders.protocol import Encoder
from intarsia.ids import SpaceId, sha256_bytes
from intarsia.lake import Lake
from intarsia.tables.embeddings import TEXT_EMBEDDINGS
from intarsia.tables.schema import TableSpec

_ROWS_PER_PART = 20_000

VectorsByContent = Mapping[str, NDArray[np.float32]]
"""Content sha256 -> its vector, float32 [D]."""


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """Source of one row of an embeddings table: a view of a product, and the digest of the encoded content."""

    product_id: str
    view: int
    content_sha256: str


def known_vectors(spec: TableSpec, lake: Lake, space_id: SpaceId, wanted: Collection[str]) -> VectorsByContent:
    """The vectors of the current table that belong to this space and to the wanted contents; empty if there is no
    table.
    """
    if not lake.has(spec.name):
        return {}
    known: dict[str, NDArray[np.float32]] = {}
    for batch in spec.batches(lake.current(spec.name), ["content_sha256", "space_id", "vector"], num_rows=4096):
        digests, spaces = batch["content_sha256"].to_pylist(), batch["space_id"].to_pylist()
        for row, (digest, space) in enumerate(zip(digests, spaces, strict=True)):
            if space == space_id and digest in wanted and digest not in known:
                known[digest] = batch["vector"][row].values.to_numpy()
    return known


def write_vectors(
    spec: TableSpec, folder: Path, keys: Sequence[EmbeddingKey], vectors: VectorsByContent, space_id: SpaceId
) -> list[EmbeddingKey]:
    """Write the rows of all keys whose content has a vector, sorted by product_id and view; returns these keys.

    Equal keys and vectors give equal bytes.
    """
    written = sorted((key for key in keys if key.content_sha256 in vectors), key=lambda key: (key.product_id, key.view))
    for number, start in enumerate(range(0, max(len(written), 1), _ROWS_PER_PART)):
        rows = written[start : start + _ROWS_PER_PART]
        spec.write_part(_rows_table(spec, rows, vectors, space_id), folder, number)
    return written


def frozen_vectors(texts: Sequence[str], encoder: Encoder[str], lake: Lake) -> tuple[NDArray[np.float32], int]:
    """Unit vectors [N, D] of distinct texts by a frozen encoder, and the number of vectors that the lake had.

    The table of the lake is a cache here, not an input of the job; otherwise the job would run again whenever the
    catalog is embedded.
    """
    digests = [sha256_bytes(text.encode()) for text in texts]
    known = known_vectors(TEXT_EMBEDDINGS, lake, encoder.space_id, set(digests))
    new_texts = [text for text, digest in zip(texts, digests, strict=True) if digest not in known]
    computed = dict(zip(new_texts, encoder.encode(new_texts), strict=True))
    vectors = [
        known[digest] if digest in known else computed[text] for text, digest in zip(texts, digests, strict=True)
    ]
    return np.stack(vectors), len(texts) - len(new_texts)


def _as_lists(vectors_ND: NDArray[np.float32]) -> pa.ListArray:
    """The vectors as an Arrow list column."""
    offsets = np.arange(len(vectors_ND) + 1, dtype=np.int32) * vectors_ND.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(vectors_ND.reshape(-1), pa.float32()))


def _rows_table(
    spec: TableSpec, rows: Sequence[EmbeddingKey], vectors: VectorsByContent, space_id: SpaceId
) -> pa.Table:
    if not rows:
        return spec.schema.empty_table()
    columns = {
        "product_id": pa.array([key.product_id for key in rows], pa.string()),
        "view": pa.array([key.view for key in rows], pa.int32()),
        "content_sha256": pa.array([key.content_sha256 for key in rows], pa.string()),
        "space_id": pa.array([space_id] * len(rows), pa.string()),
        "vector": _as_lists(np.stack([vectors[key.content_sha256] for key in rows])),
    }
    return pa.table(columns, schema=spec.schema)
