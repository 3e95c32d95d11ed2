"""What one request was answered with, and what of it no one can compute again: enough to have its feature matrix back, to the bit.

An encoder's output differs in the last bits from one batch size or machine to another, so the vectors that were used are kept. Everything
else is recomputed from them and from the release that served the request. A shopper's picture is not kept; its vector is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from intarsia.ids import ProductId, ReleaseId, RequestId
from intarsia.records.query import Query, QueryVector

IMAGE_LEFT_BEHIND = b"\0"
"""Stands for the picture of a query once its vector is known: the query still says that there was one."""

_HASH_BYTES = 8
_NUM_HASHES = 1 << 8 * _HASH_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One answered request.

    Attributes:
        query: as it was asked; its image is None or `PICTURE_LEFT_BEHIND`.
        release_id: of the release that answered.
        vectors: the query vectors that retrieval used, those of seed products too, by retriever name.
        shown: the page, as pairs of position (from 1 over all pages) and product.
        digest: `matrix_digest` of what the ranker was given; empty when no ranker answered.
        degraded: the steps that had a stand-in.
    """

    query: Query
    release_id: ReleaseId
    vectors: Mapping[str, QueryVector] = field(default_factory=dict)
    shown: tuple[tuple[int, ProductId], ...] = ()
    digest: bytes = b""
    degraded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.query.image in (None, IMAGE_LEFT_BEHIND), "a shopper's picture is not kept"

    @property
    def request_id(self) -> RequestId:
        """The request."""
        return self.query.request_id

    @property
    def is_comparable(self) -> bool:
        """Whether the whole line of stages worked on it, so that the same line gives the same digest again."""
        return bool(self.digest) and not self.degraded


def is_in_share(request_id: RequestId, share: float) -> bool:
    """Whether a request is among the `share` (0..1) of all requests; the same ones each time, and a larger share holds the smaller ones."""
    digest = hashlib.blake2b(request_id.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest) < share * _NUM_HASHES
