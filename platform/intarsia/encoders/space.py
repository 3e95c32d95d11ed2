"""The name of a vector space: equal when, and only when, the same model reads the same way. Letters: N items, D width."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import SpaceId, sha256_json, short

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
