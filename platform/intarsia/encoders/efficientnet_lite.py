"""EfficientNet-Lite0 as a torch module that the published ImageNet weights fit, in order. Pooling: see `cnn.py`.

The Lite family is EfficientNet without squeeze-and-excitation and with ReLU6 instead of swish, so that it quantises
well. The weights were converted from TensorFlow, hence its padding, its epsilon, and pixels scaled to (x - 127) / 128.

Letters: N images, C channels, H height, W width.

Source: Tan and Le, ICML 2019, arXiv:1905.11946; the Lite variants: TensorFlow TPU models, efficientnet/lite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from intarsia.errors import ArtifactError

PIXEL_MEAN, PIXEL_SCALE = 127.0, 128.0
_BN_EPSILON = 1e-3  # TensorFlow's, not torch's 1e-5
_STEM_WIDTH, _HEAD_WIDTH, _NUM_CLASSES = 32, 1280, 1000


class _Group(NamedTuple):
    """`repeats` inverted bottlenecks of one width; only the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


_LITE0 = (
    _Group(1, 3, 1, 1, 16),
    _Group(2, 3, 2, 6, 24),
    _Group(2, 5, 2, 6, 40),
    _Group(3, 3, 2, 6, 80),
    _Group(3, 5, 1, 6, 112),
    _Group(4, 5, 2, 6, 192),
    _Group(1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """The whole network. Encoders use `stages`; `forward` gives ImageNet logits, to test the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_convolution(3, _STEM_WIDTH, kernel=3, stride=2)])
        width = _STEM_WIDTH
        for group in _LITE0:
            for repeat in range(group.repeats):
                stride = group.stride if repeat == 0 else 1
                self.stages.append(_InvertedBottleneck(width, group.width, group.kernel, stride, group.expansion))
                width = group.width
        self.head = _convolution(width, _HEAD_WIDTH, kernel=1, stride=1)
        self.classes = nn.Linear(_HEAD_WIDTH, _NUM_CLASSES)

    def forward(self, scaled_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits of the 1,000 ImageNet classes, float32 [N, 1000]."""
        map_NCHW = scaled_NCHW
        for stage in self.stages:
            map_NCHW = stage(map_NCHW)
        logits: torch.Tensor = self.classes(self.head(map_NCHW).mean(dim=(2, 3)))
        return logits


def load_in_order(network: EfficientNetLite0, weights: Mapping[str, torch.Tensor]) -> None:
    """Load tensors with other names but the same order and shapes.

    Raises:
        ArtifactError: the number of tensors or a shape differs.
    """
    state = network.state_dict()
    if len(state) != len(weights):
        raise ArtifactError(f"the weights hold {len(weights)} tensors; EfficientNet-Lite0 has {len(state)}")
    for (name, slot), (tensor_name, tensor) in zip(state.items(), weights.items(), strict=True):
        if slot.shape != tensor.shape:
            raise ArtifactError(
                f"tensor {tensor_name} of the weights is {tuple(tensor.shape)}; EfficientNet-Lite0's {name} is "
                f"{tuple(slot.shape)}"
            )
    network.load_state_dict(dict(zip(state, weights.values(), strict=True)))


class _InvertedBottleneck(nn.Module):
    """Expand, filter each channel, project; the input is added if the shapes are equal."""

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width_in * expansion
        steps = [] if expansion == 1 else [_convolution(width_in, inner, kernel=1, stride=1)]
        steps.append(_convolution(inner, inner, kernel=kernel, stride=stride, groups=inner))
        steps.append(_convolution(inner, width_out, kernel=1, stride=1, active=False))
        self.steps = nn.Sequential(*steps)
        self._adds_input = stride == 1 and width_in == width_out

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        y_NCHW: torch.Tensor = self.steps(x_NCHW)
        return y_NCHW + x_NCHW if self._adds_input else y_NCHW


class _SamePadded(nn.Conv2d):
    """A convolution without bias with TensorFlow's SAME padding: an odd remainder goes to the bottom and right."""

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


def _convolution(
    width_in: int, width_out: int, *, kernel: int, stride: int, groups: int = 1, active: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        _SamePadded(width_in, width_out, kernel, stride=stride, groups=groups, bias=False),
        nn.BatchNorm2d(width_out, eps=_BN_EPSILON),
    ]
    return nn.Sequential(*layers, nn.ReLU6()) if active else nn.Sequential(*layers)
