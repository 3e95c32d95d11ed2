"""The colours of a picture as one part of its vector: a soft histogram in a space made for the eye, without the white ground.

Networks trained to name things learn to overlook colour, and shoppers ask for it first. Part of the tower, so that it is exported with it.

Letters: N pictures, S side, P pixels, K colours, D width of the vector.

Source: CIE 1976 L*a*b*, IEC 61966-2-1 for sRGB; soft assignment to a codebook: van Gemert et al., "Visual word ambiguity", IEEE TPAMI 2010,
doi:10.1109/TPAMI.2009.132; the square root of shares makes dot products Bhattacharyya coefficients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from intarsia.encoders.pooling import unit_rows

_LEVELS = (0.0, 85.0, 170.0, 255.0)  # of red, green and blue: 64 colours
_SIDE_PX = 32  # colours need no detail
_SOFTNESS = 15.0  # standard deviation of the assignment, in units of L*a*b*; neighbouring colours of the codebook are 30 to 60 apart
_GROUND = 8.0  # nearer to white than this is the ground that shops photograph on
_FEW_PIXELS = 20.0  # fewer that are not ground, and the picture is taken as it is: a white shirt on white
_WHITE = (0.9505, 1.0, 1.089)  # of D65, which sRGB is seen under


class ColourHistogram(nn.Module):
    """uint8 pixels [N, S, S, 3] -> unit vectors [N, 2 K]: the colours of the whole picture, and of its middle half."""

    def __init__(self) -> None:
        super().__init__()
        levels = torch.tensor(_LEVELS)
        codebook_K3 = torch.cartesian_prod(levels, levels, levels)
        self._codebook_K3: torch.Tensor
        self.register_buffer("_codebook_K3", _lab(codebook_K3), persistent=False)

    @property
    def width(self) -> int:
        """D."""
        return 2 * len(self._codebook_K3)

    def forward(self, pixels_NSS3: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D]."""
        small_N3SS = F.avg_pool2d(pixels_NSS3.permute(0, 3, 1, 2).float(), max(1, pixels_NSS3.shape[1] // _SIDE_PX))
        quarter = small_N3SS.shape[2] // 4
        middle_N3SS = small_N3SS[:, :, quarter : 3 * quarter, quarter : 3 * quarter] if quarter else small_N3SS
        return unit_rows(torch.cat([self._shares(small_N3SS), self._shares(middle_N3SS)], dim=1))

    def _shares(self, pixels_N3SS: torch.Tensor) -> torch.Tensor:
        """Square roots of the share of each colour among the pixels that are not ground, [N, K]."""
        lab_NP3 = _lab(pixels_N3SS.flatten(2).transpose(1, 2))
        codebook_K3 = self._codebook_K3
        nearness_NPK = (
            lab_NP3 @ codebook_K3.T - codebook_K3.square().sum(dim=1) / 2.0
        )  # less |a pixel|^2 / 2, the same for all colours
        colours_NPK = torch.softmax(nearness_NPK / _SOFTNESS**2, dim=2)
        white_3 = lab_NP3.new_tensor([100.0, 0.0, 0.0])
        shown_NP = ((lab_NP3 - white_3).square().sum(dim=2) >= _GROUND**2).float()
        is_much_N1 = (shown_NP.sum(dim=1, keepdim=True) >= _FEW_PIXELS).float()
        weights_NP1 = (shown_NP * is_much_N1 + (1.0 - is_much_N1)).unsqueeze(2)
        return ((colours_NPK * weights_NP1).sum(dim=1) / weights_NP1.sum(dim=1)).sqrt()


def _lab(rgb: torch.Tensor) -> torch.Tensor:
    """SRGB 0..255 in the last axis to L*a*b*."""
    scaled = rgb / 255.0
    linear = torch.where(scaled > 0.04045, ((scaled + 0.055) / 1.055).pow(2.4), scaled / 12.92)
    to_xyz = rgb.new_tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = (linear @ to_xyz.T) / rgb.new_tensor(_WHITE)
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6).pow(1.0 / 3.0), 7.787 * xyz + 16.0 / 116.0)
    x, y, z = f.unbind(dim=-1)
    return torch.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], dim=-1)
