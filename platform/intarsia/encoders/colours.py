"""Colour histogram of an image as a part of its vector: soft counts in L*a*b* space, without the white background.

Networks trained to classify objects ignore colour, but shoppers search for it. The histogram is part of the tower, so
that it is exported with it.

Letters: N images, S side, P pixels, K colours, D width of the vector.

Source: CIE 1976 L*a*b*, IEC 61966-2-1 for sRGB; soft assignment to a codebook: van Gemert et al., "Visual word
ambiguity", IEEE TPAMI 2010, doi:10.1109/TPAMI.2009.132; the square root of shares makes dot products Bhattacharyya
coefficients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from intarsia.encoders.pooling import unit_rows

_LEVELS = (0.0, 85.0, 170.0, 255.0)  # of red, green and blue: 64 colours
_SIDE_PX = 32  # side of the reduced image; colours need no detail
_SOFTNESS = 15.0  # standard deviation of the assignment in L*a*b*; neighbours in the codebook are 30 to 60 apart
_BACKGROUND = 8.0  # pixels closer to white than this are background
_MIN_PIXELS = 20.0  # with fewer foreground pixels all pixels count: a white shirt on white
_WHITE = (0.9505, 1.0, 1.089)  # white point D65 of sRGB


class ColourHistogram(nn.Module):
    """uint8 pixels [N, S, S, 3] -> unit vectors [N, 2 K]: the colours of the whole image, and of its middle half."""

    def __init__(self) -> None:
        super().__init__()
        levels = torch.tensor(_LEVELS)
        codebook_K3 = torch.cartesian_prod(levels, levels, levels)
        self._codebook_K3: torch.Tensor
        self.register_buffer("_codebook_K3", _lab(codebook_K3), persistent=False)

    @property
    def width(self) -> int:
        return 2 * len(self._codebook_K3)

    def forward(self, pixels_NSS3: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D]."""
        small_N3SS = F.avg_pool2d(pixels_NSS3.permute(0, 3, 1, 2).float(), max(1, pixels_NSS3.shape[1] // _SIDE_PX))
        quarter = small_N3SS.shape[2] // 4
        middle_N3SS = small_N3SS[:, :, quarter : 3 * quarter, quarter : 3 * quarter] if quarter else small_N3SS
        return unit_rows(torch.cat([self._shares(small_N3SS), self._shares(middle_N3SS)], dim=1))

    def _shares(self, pixels_N3SS: torch.Tensor) -> torch.Tensor:
        """Square roots of the share of each colour among the foreground pixels, [N, K]."""
        lab_NP3 = _lab(pixels_N3SS.flatten(2).transpose(1, 2))
        codebook_K3 = self._codebook_K3
        # half the negative squared distance, without |pixel|^2 / 2, which is equal for all colours
        nearness_NPK = lab_NP3 @ codebook_K3.T - codebook_K3.square().sum(dim=1) / 2.0
        colours_NPK = torch.softmax(nearness_NPK / _SOFTNESS**2, dim=2)
        white_3 = lab_NP3.new_tensor([100.0, 0.0, 0.0])
        is_foreground_NP = ((lab_NP3 - white_3).square().sum(dim=2) >= _BACKGROUND**2).float()
        is_enough_N1 = (is_foreground_NP.sum(dim=1, keepdim=True) >= _MIN_PIXELS).float()
        weights_NP1 = (is_foreground_NP * is_enough_N1 + (1.0 - is_enough_N1)).unsqueeze(2)
        return ((colours_NPK * weights_NP1).sum(dim=1) / weights_NP1.sum(dim=1)).sqrt()


def _lab(rgb: torch.Tensor) -> torch.Tensor:
    """Convert sRGB, 0..255 on the last axis, to L*a*b*."""
    scaled = rgb / 255.0
    linear = torch.where(scaled > 0.04045, ((scaled + 0.055) / 1.055).pow(2.4), scaled / 12.92)
    to_xyz = rgb.new_tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = (linear @ to_xyz.T) / rgb.new_tensor(_WHITE)
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6).pow(1.0 / 3.0), 7.787 * xyz + 16.0 / 116.0)
    x, y, z = f.unbind(dim=-1)
    return torch.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], dim=-1)
