"""Text and image encoders run by torch, for any tower.

Letters: N items, T tokens, S side, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.inputs import TextTokenizer, pad, read_pixels
from intarsia.ids import SpaceId


class TorchTextEncoder:
    """`Encoder[str]` of a tower: a module from token ids and mask, both int64 [N, T], to unit vectors [N, D].

    Batches are made of texts of similar length, to save padding. A vector differs by less than 1e-6 per component
    between batches, from the order of summation.
    """

    def __init__(
        self, config: TextEncoderConfig, tower: nn.Module, tokenizer: TextTokenizer, pad_id: int, space_id: SpaceId
    ) -> None:
        self.config = config
        self.tower = tower.eval()
        self.tokenizer = tokenizer
        self.pad_id = pad_id
        self.space_id = space_id
        self._device = "cpu"
        with torch.inference_mode():
            ids_NT, mask_NT = self._padded(tokenizer.ids([""]))
            self.dim = int(self.tower(ids_NT, mask_NT).shape[1])

    def to(self, device: str) -> None:
        """Move to a device, such as `cuda`; vectors differ by rounding, the space id stays."""
        self.tower.to(device)
        self._device = device

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        vectors_ND = np.empty((len(items), self.dim), np.float32)
        tokens = self.tokenizer.ids(items)
        order = sorted(range(len(tokens)), key=lambda n: len(tokens[n]))
        for start in range(0, len(order), self.config.batch_size):
            rows = order[start : start + self.config.batch_size]
            with torch.inference_mode():
                ids_NT, mask_NT = self._padded([tokens[n] for n in rows])
                vectors_ND[rows] = self.tower(ids_NT, mask_NT).cpu().numpy()
        return vectors_ND

    def _padded(self, tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        ids_NT, mask_NT = pad(tokens, self.pad_id)
        return torch.from_numpy(ids_NT).to(self._device), torch.from_numpy(mask_NT).to(self._device)


class TorchImageEncoder:
    """`Encoder[bytes]` of a tower: a module from uint8 pixels [N, S, S, 3] to unit vectors [N, D].

    A vector differs by less than 1e-5 per component between batches. `image_px` is S.
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
        """Move to a device, such as `cuda`; vectors differ by rounding, the space id stays."""
        # with the 10-bit mantissa of TF32, vectors would differ visibly from those of the query encoder on a CPU
        torch.backends.cudnn.allow_tf32 = False
        self.tower.to(device)
        self._device = device

    def encode(self, items: Sequence[bytes]) -> NDArray[np.float32]:
        """Raises ImageError if an image cannot be decoded."""
        vectors_ND = np.empty((len(items), self.dim), np.float32)
        for start in range(0, len(items), self.config.batch_size):
            pixels_NSS3 = read_pixels(items[start : start + self.config.batch_size], self.image_px)
            with torch.inference_mode():
                pixels = torch.from_numpy(pixels_NSS3).to(self._device)
                vectors_ND[start : start + len(pixels_NSS3)] = self.tower(pixels).cpu().numpy()
        return vectors_ND
