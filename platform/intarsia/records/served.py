"""Record of a served request, from which its feature matrix can be recomputed bit by bit.

The output of an encoder differs in the last bits between batch sizes and machines, so the record keeps the query
vectors. Everything else is recomputed from them and the release. The image of a query is not stored, only its vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from intarsia.ids import ProductId, ReleaseId, RequestId
from intarsia.records.query import Query, QueryVector

IMAGE_NOT_STORED = b"\0"
"""Replaces the image of a stored query, so that the query still counts as having one."""

_HASH_BYTES = 8
_NUM_HASHES = 1 << 8 * _HASH_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRequest:
    """One served request.

    Attributes:
        query: the query; its image is None or `IMAGE_NOT_STORED`.
        release_id: release that served it.
        vectors: retriever name -> query vector that retrieval used, including those of seed products.
        shown: (position, product) of each hit on the page; positions count from 1 over all pages.
        digest: `matrix_digest` of the ranker's input; b"" when no ranker ran.
        degraded: pipeline steps that used a fallback.
    """

    query: Query
    release_id: ReleaseId
    vectors: Mapping[str, QueryVector] = field(default_factory=dict)
    shown: tuple[tuple[int, ProductId], ...] = ()
    digest: bytes = b""
    degraded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.query.image in (None, IMAGE_NOT_STORED), "the image of a query is not stored"

    @property
    def request_id(self) -> RequestId:
        return self.query.request_id

    @property
    def is_replayable(self) -> bool:
        """Whether all stages ran, so that a replay must give the same digest."""
        return bool(self.digest) and not self.degraded


def is_sampled(request_id: RequestId, share: float) -> bool:
    """Whether a request is in a sample of `share` (0..1) of all requests.

    The sample depends on the id alone, and a larger share contains every smaller one.
    """
    digest = hashlib.blake2b(request_id.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest) < share * _NUM_HASHES
