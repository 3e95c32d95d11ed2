"""Image encoders of convolutional networks, run by torch.

The vector of an image has up to three normalised parts, side by side: the mean of the last feature map, which separates
kinds of objects; the mean of the last map at a quarter of the image's side, which keeps colour and texture; and a
colour histogram.

Measured with EfficientNet-Lite0 on 2,500 images of `fashion15k`: share of the 5 nearest neighbours with equal article
type / base colour / both, and the accuracy of a linear probe for article type / base colour:

    1280-wide head alone (the usual choice)   0.636 / 0.284 / 0.189   probe 0.708 / 0.487
    last map, 320 wide                        0.645 / 0.289 / 0.197   probe 0.693 / 0.497
    last + 1 x early map, 344 wide            0.648 / 0.311 / 0.212   probe 0.709 / 0.527
    last + 2 x early map, 344 wide (chosen)   0.640 / 0.333 / 0.223   probe 0.711 / 0.536
    last + 3 x early map, 344 wide            0.631 / 0.352 / 0.235   probe 0.710 / 0.537

With the colour histogram (`colours.py`), on another 2,500 images, the same shares:

    without, 344 wide                         0.645 / 0.330 / 0.230
    + 0.25 x colours, 472 wide                0.627 / 0.374 / 0.251
    + 0.4 x colours, 472 wide (chosen)        0.606 / 0.392 / 0.252
    + 0.5 x colours, 472 wide                 0.589 / 0.405 / 0.253
    + 1 x colours, 472 wide                   0.511 / 0.435 / 0.241

Letters: N images, S side, C channels, H height, W width, D width of the vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from intarsia.encoders.colours import ColourHistogram
from intarsia.encoders.config import EFFICIENTNET_LITE0, RANDOM, TORCHVISION, UNTRAINED, ImageEncoderConfig
from intarsia.encoders.efficientnet_lite import PIXEL_MEAN, PIXEL_SCALE, EfficientNetLite0, load_in_order
from intarsia.encoders.offline_weights import offline_files
from intarsia.encoders.pooling import mean_of_positions, unit_rows
from intarsia.encoders.protocol import digest_arrays, name_space
from intarsia.encoders.torch_encoders import TorchImageEncoder
from intarsia.errors import ArtifactError, ConfigError

_EARLY_STRIDE = 4  # the early map has a quarter of the image's side
_LITE_MEAN, _LITE_SCALE = (PIXEL_MEAN,) * 3, (PIXEL_SCALE,) * 3
_IMAGENET_MEAN, _IMAGENET_SCALE = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class ImageTower(nn.Module):
    """Pixel scaling, network, pooling and normalisation in one graph: uint8 pixels in, unit vectors out."""

    def __init__(
        self,
        stages: Sequence[nn.Module],
        num_early: int,
        early_weight: float,
        mean: Sequence[float],
        scale: Sequence[float],
        colour_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.early = nn.Sequential(*stages[:num_early])
        self.late = nn.Sequential(*stages[num_early:])
        self._early_weight, self._colour_weight = early_weight, colour_weight
        self._colours = ColourHistogram()
        self._mean: torch.Tensor
        self._scale: torch.Tensor
        self.register_buffer("_mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("_scale", torch.tensor(scale).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixels_NSS3: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D] of uint8 pixels."""
        scaled_NCHW = (pixels_NSS3.permute(0, 3, 1, 2).float() - self._mean) / self._scale
        early_NCHW = self.early(scaled_NCHW)
        parts = [unit_rows(mean_of_positions(self.late(early_NCHW)))]
        if self._early_weight:
            parts.append(self._early_weight * unit_rows(mean_of_positions(early_NCHW)))
        if not self._colour_weight:
            return unit_rows(torch.cat(parts, dim=1)) if self._early_weight else parts[0]
        network_NC = unit_rows(torch.cat(parts, dim=1))
        return unit_rows(torch.cat([network_NC, self._colour_weight * self._colours(pixels_NSS3)], dim=1))


class CnnImageEncoder(TorchImageEncoder):
    """A `TorchImageEncoder` of an `ImageTower`. It folds the batch norms into the convolutions, so the tower cannot be
    trained after.
    """

    tower: ImageTower

    def __init__(self, config: ImageEncoderConfig, tower: ImageTower) -> None:
        weights = digest_arrays((name, tensor.numpy()) for name, tensor in tower.state_dict().items())
        settings = {"model": config.model, "image_px": config.image_px, "early_weight": config.early_weight}
        if config.colour_weight:  # absent at 0, so that older space ids stay valid
            settings["colour_weight"] = config.colour_weight
        fold_norms(tower.eval())
        super().__init__(config, tower, config.image_px, name_space("image", weights, settings))


def open_cnn(config: ImageEncoderConfig) -> CnnImageEncoder:
    """Open EfficientNet-Lite0, a torchvision network, or a small untrained network. Raises like `build_image_tower`."""
    return CnnImageEncoder(config, build_image_tower(config))


def build_image_tower(config: ImageEncoderConfig, *, with_weights: bool = True) -> ImageTower:
    """Build the tower of a convolutional network, with its batch norms not folded.

    Args:
        config: model, side, and weights of the parts of the vector.
        with_weights: False gives random weights, which the caller replaces.

    Raises:
        ConfigError: the model does not exist, or its structure is not known.
        ArtifactError: its weights are missing or do not match.
    """
    mean, scale = _IMAGENET_MEAN, _IMAGENET_SCALE
    if config.model.startswith(TORCHVISION):
        stages = _torchvision_stages(config if with_weights else replace(config, weights=f"{RANDOM}0"))
    elif config.model.startswith(UNTRAINED):
        from intarsia.encoders.untrained import untrained_stages  # imports transformers, which only this kind needs

        stages = untrained_stages(config.model)
    elif config.model == EFFICIENTNET_LITE0:
        stages, mean, scale = _lite0_stages(config if with_weights else None), _LITE_MEAN, _LITE_SCALE
    else:
        raise ConfigError(
            f"image model is {config.model!r}; allowed: {EFFICIENTNET_LITE0}, {TORCHVISION}<name>, "
            f"{UNTRAINED}<kind>:<seed>, a hub name or a folder"
        )
    num_early = _num_early(stages, config.image_px)
    return ImageTower(stages, num_early, config.early_weight, mean, scale, config.colour_weight)


def _lite0_stages(config: ImageEncoderConfig | None) -> list[nn.Module]:
    network = EfficientNetLite0()
    if config is not None:
        load_in_order(network, _state_dict(offline_files(config.model)[0]))
    return list(network.stages)


def _torchvision_stages(config: ImageEncoderConfig) -> list[nn.Module]:
    name = config.model.removeprefix(TORCHVISION)
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ConfigError(f"torchvision has no model {name!r}; see torchvision.models.list_models()")
    if config.weights.startswith(RANDOM):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(config.weights.removeprefix(RANDOM)))
            network = torchvision.models.get_model(name, weights=None)
    elif config.weights == "DEFAULT":
        network = _downloaded(name)
    else:
        network = torchvision.models.get_model(name, weights=None)
        try:
            network.load_state_dict(_state_dict(Path(config.weights)))
        except RuntimeError as error:
            raise ArtifactError(f"{config.weights} does not match {config.model}: {error}") from None
    if hasattr(network, "layer4"):  # the ResNet family has no `features`
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        return [stem, network.layer1, network.layer2, network.layer3, network.layer4]
    if isinstance(getattr(network, "features", None), nn.Sequential):
        return list(network.features)
    raise ConfigError(
        f"{config.model} is not a sequence of convolutional stages; allowed: the ResNet, MobileNet, EfficientNet, "
        "ConvNeXt, DenseNet, VGG and ShuffleNet-like families that have `features` or `layer4`"
    )


def _downloaded(name: str) -> nn.Module:
    try:
        network: nn.Module = torchvision.models.get_model(name, weights="DEFAULT")
    except OSError as error:
        raise ArtifactError(
            f"the weights of torchvision:{name} cannot be downloaded ({error}); set `weights` to the path of a state "
            f"dict, or `model` to {EFFICIENTNET_LITE0}"
        ) from None
    return network


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ArtifactError(
            f"weights {path} do not exist; set `weights` to a state dict, to DEFAULT, or to random:<seed>"
        )
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def fold_norms(module: nn.Module) -> None:
    """Fold each batch norm that follows a convolution in a `Sequential` into it: the same function in half the time."""
    if isinstance(module, nn.Sequential):
        for number in range(len(module) - 1):
            convolution, norm = module[number], module[number + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[number] = fuse_conv_bn_eval(convolution, norm)
                module[number + 1] = nn.Identity()
    for child in module.children():
        fold_norms(child)


def _num_early(stages: Sequence[nn.Module], image_px: int) -> int:
    """Number of stages up to the last map of a quarter of the side; 1 if a network has no map of that size."""
    map_NCHW = torch.zeros((1, 3, image_px, image_px))
    last_at_quarter = 1
    with torch.inference_mode():
        for number, stage in enumerate(stages, start=1):
            map_NCHW = stage.eval()(map_NCHW)
            if map_NCHW.shape[2] == -(-image_px // _EARLY_STRIDE):
                last_at_quarter = number
            if map_NCHW.shape[2] < image_px // _EARLY_STRIDE:
                break
    return last_at_quarter
