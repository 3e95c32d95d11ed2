"""The encoder protocol, and the id of a vector space: equal if and only if the same model reads its input in the same
way.

Letters: N items, D width.
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
    """Encodes items to unit vectors of one space; text encoders take `str`, image encoders the `bytes` of an image
    file.
    """

    @property
    def space_id(self) -> SpaceId:
        """Id of architecture, weights and pooling; equal for all ways to run one model (torch, ONNX, int8)."""
        ...

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        ...

    def encode(self, items: Sequence[Item]) -> NDArray[np.float32]:
        """float32 [N, D], unit norm, in the order of `items`; N = 0 gives [0, D]."""
        ...


READING_VERSION = 1
"""Increased when pixels or tokens are computed in another way; old vectors then belong to another space."""


def name_space(family: str, weights_digest: str, settings: Mapping[str, object]) -> SpaceId:
    """The id of an encoder's space: `family-` and 12 hex digits of weights, settings and `READING_VERSION`."""
    digest = sha256_json(
        {"family": family, "weights": weights_digest, "settings": dict(settings), "v": READING_VERSION}
    )
    return SpaceId(f"{family}-{short(digest)}")


def digest_arrays(named: Iterable[tuple[str, NDArray[np.generic]]]) -> str:
    """Hex sha256 of names, dtypes, shapes and values, sorted by name; independent of the file format."""
    digest = hashlib.sha256()
    for name, array in sorted(named, key=lambda pair: pair[0]):
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
