"""What every encoder is, whatever it reads.

Letters: N items, D width.


The name of a vector space: equal when, and only when, the same model reads the same way. Letters: N items, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import SpaceId, sha256_json, short

Item = TypeVar("Item", contravariant=True)


class Encoder(Protocol[Item]):
    """Turns items into unit vectors of one named space; text encoders take `str`, image encoders the picture file's `bytes`."""

    @property
    def space_id(self) -> SpaceId:
        """Names architecture, weights and pooling; equal for every way of running the same model (torch, ONNX, int8)."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    def encode(self, items: Sequence[Item]) -> NDArray[np.float32]:
        """float32 [N, D], unit norm, in the order of `items`; N = 0 gives [0, D]."""
        ...


READING_VERSION = 1
"""Grows when pixels or tokens are made from bytes and texts in another way: old vectors then belong to another space."""


def name_space(family: str, weights_digest: str, settings: Mapping[str, object]) -> SpaceId:
    """The space of one encoder: `family-` and 12 hex digits over architecture, weights and everything that changes a vector."""
    digest = sha256_json(
        {"family": family, "weights": weights_digest, "settings": dict(settings), "v": READING_VERSION}
    )
    return SpaceId(f"{family}-{short(digest)}")


def digest_arrays(named: Iterable[tuple[str, NDArray[np.generic]]]) -> str:
    """Hex sha256 over names, dtypes, shapes and values, sorted by name; independent of the file they came from."""
    digest = hashlib.sha256()
    for name, array in sorted(named, key=lambda pair: pair[0]):
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
