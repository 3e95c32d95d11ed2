"""What every encoder is, whatever it reads.

Letters: N items, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import SpaceId

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
