"""Image encoders run by torch, whatever their tower is built of. Which towers there are is the other files' matter.

Letters: N pictures, S side, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intarsia.encoders.config import ImageEncoderConfig
from intarsia.encoders.pixels import read_pixels
from intarsia.ids import SpaceId


class TorchImageEncoder:
    """`Encoder[bytes]` over a tower: a module that makes unit vectors [N, D] of uint8 pixels [N, S, S, 3].

    A picture's vector depends on its batch by less than 1e-5 per component. `image_px` is S, the side that the tower reads.
    """

    def __init__(self, config: ImageEncoderConfig, tower: nn.Module, image_px: int, space_id: SpaceId) -> None:
        self.config = config
        self.tower = tower.eval()
        self.image_px = image_px
        self.space_id = space_id
        self._device = "cpu"
        with torch.inference_mode():
            black_1SS3 = torch.zeros((1, image_px, image_px, 3), dtype=torch.uint8)
            self.dim = int(self.tower(black_1SS3).shape[1])

    def to(self, device: str) -> None:
        """Compute there from now on, such as `cuda`; vectors differ by rounding, the space stays."""
        torch.backends.cudnn.allow_tf32 = False  # its 10 bits would show against the query encoder, which runs on a CPU
        self.tower.to(device)
        self._device = device

    def encode(self, items: Sequence[bytes]) -> NDArray[np.float32]:
        """Raises ImageError when a picture cannot be decoded."""
        vectors_ND = np.empty((len(items), self.dim), np.float32)
        for start in range(0, len(items), self.config.batch_size):
            pixels_NSS3 = read_pixels(items[start : start + self.config.batch_size], self.image_px)
            with torch.inference_mode():
                pixels = torch.from_numpy(pixels_NSS3).to(self._device)
                vectors_ND[start : start + len(pixels_NSS3)] = self.tower(pixels).cpu().numpy()
        return vectors_ND
