"""EfficientNet-Lite0 as a torch module whose parameters are named as in the published weight file. What is pooled from it is `cnn.py`'s matter.

The Lite family is EfficientNet without squeeze-and-excitation and with ReLU6 for swish, so that it quantises well; the weights were
converted from TensorFlow, hence its padding and its epsilon.

Letters: N pictures, C channels, H height, W width.
Source: Tan and Le, ICML 2019, arXiv:1905.11946; the Lite variants: TensorFlow TPU models, efficientnet/lite.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

_BN_EPSILON = 1e-3  # TensorFlow's, not torch's 1e-5
_STEM_WIDTH = 32
_HEAD_WIDTH = 1280
_NUM_CLASSES = 1000


class _Stage(NamedTuple):
    """`repeats` inverted bottlenecks of one width; only the first of them has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


_LITE0 = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """The whole network; `stages` is what encoders run, `forward` gives ImageNet logits and shows that the weights fit."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Convolution(3, _STEM_WIDTH, kernel=3, stride=2)
        self._bn0 = _norm(_STEM_WIDTH)
        self._blocks = nn.ModuleList()
        width = _STEM_WIDTH
        for stage in _LITE0:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                self._blocks.append(_InvertedBottleneck(width, stage.width, stage.kernel, stride, stage.expansion))
                width = stage.width
        self._conv_head = _Convolution(width, _HEAD_WIDTH, kernel=1, stride=1)
        self._bn1 = _norm(_HEAD_WIDTH)
        self._fc = nn.Linear(_HEAD_WIDTH, _NUM_CLASSES)

    def stages(self) -> list[nn.Module]:
        """The stem, then each block, to be run in order; the 1280-wide head and the classes are left out."""
        return [nn.Sequential(self._conv_stem, self._bn0, nn.ReLU6()), *self._blocks]

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        """ImageNet logits, float32 [N, 1000], of pixels scaled to (x - 127) / 128."""
        map_NCHW = pixels_NCHW
        for stage in self.stages():
            map_NCHW = stage(map_NCHW)
        head_NCHW = functional.relu6(self._bn1(self._conv_head(map_NCHW)))
        logits: torch.Tensor = self._fc(head_NCHW.mean(dim=(2, 3)))
        return logits


class _InvertedBottleneck(nn.Module):
    """Expand, filter each channel, project; the input is added where shapes allow."""

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width_in * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = _Convolution(width_in, inner, kernel=1, stride=1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _Convolution(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = _Convolution(inner, width_out, kernel=1, stride=1)
        self._bn2 = _norm(width_out)
        self._adds_input = stride == 1 and width_in == width_out

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        y_NCHW = functional.relu6(self._bn0(self._expand_conv(x_NCHW))) if self._expands else x_NCHW
        y_NCHW = functional.relu6(self._bn1(self._depthwise_conv(y_NCHW)))
        y_NCHW = self._bn2(self._project_conv(y_NCHW))
        return y_NCHW + x_NCHW if self._adds_input else y_NCHW


class _Convolution(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow's SAME does: an odd remainder goes to the bottom and right."""

    def __init__(self, width_in: int, width_out: int, *, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(width_in, width_out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        top, bottom = self._padding_of(int(input.shape[2]))
        left, right = self._padding_of(int(input.shape[3]))
        if top == bottom == left == right:
            return functional.conv2d(input, self.weight, self.bias, self.stride, top, groups=self.groups)
        padded = functional.pad(input, (left, right, top, bottom))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)

    def _padding_of(self, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=_BN_EPSILON)
