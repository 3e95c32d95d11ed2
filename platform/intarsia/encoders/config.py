"""What a text and an image encoder are made of: the settings users write. How each kind is opened is `open.py`'s matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from intarsia.config import check_range, setting

MINILM = "offline:all-MiniLM-L6-v2"
USE_MULTILINGUAL = "offline:use-multilingual-v3"
EFFICIENTNET_LITE0 = "offline:efficientnet-lite0"
OFFLINE = "offline:"
TORCHVISION = "torchvision:"
RANDOM = "random:"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """One text encoder; every setting but `batch_size` changes its space."""

    model: str = setting(
        "transformers encoder by hub name or local folder (BERT family, any language), or offline:all-MiniLM-L6-v2 (English, 384 wide), "
        "offline:use-multilingual-v3 (Chinese, English and 14 more, 512 wide)",
        MINILM,
    )
    pooling: Literal["mean", "cls"] = setting(
        "a text's vector: mean of its tokens, or the first token; does nothing for use-multilingual-v3", "mean"
    )
    max_tokens: int = setting(
        "tokens of a text that are read, the model's own marks included; the rest is cut off", 128
    )
    reading: Literal["clean", "folded"] = setting(
        "how a text is read before the model's tokenizer: clean (NFKC, spaces), or folded (also lower case, simplified Chinese, "
        "no accents)",
        "clean",
    )
    prefix: str = setting("words put before every text, for models trained with such", "")
    batch_size: int = setting("texts per forward pass", 32)

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model is empty; allowed: a hub name, a folder, or offline:<name>")
        if self.max_tokens < 3:
            raise ValueError(f"max_tokens is {self.max_tokens}; allowed: 3 or more (two are the model's own marks)")
        check_range(self, "batch_size", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEncoderConfig:
    """One image encoder; every setting but `batch_size` changes its space."""

    model: str = setting(
        "offline:efficientnet-lite0, or torchvision:<name> of a convolutional network, such as torchvision:mobilenet_v3_small",
        EFFICIENTNET_LITE0,
    )
    weights: str = setting(
        "of a torchvision model: DEFAULT (torchvision's own download), the path of a state dict, or random:<seed>; does nothing for "
        "offline:",
        "DEFAULT",
    )
    image_px: int = setting("side of the square a picture is fitted into, pixels", 160)
    early_weight: float = setting(
        "share of the early feature map, which keeps colour and texture, against the last one, which knows things; 0 leaves it out",
        2.0,
    )
    batch_size: int = setting("pictures per forward pass", 16)

    def __post_init__(self) -> None:
        if not self.model.startswith((OFFLINE, TORCHVISION)):
            raise ValueError(f"model is {self.model!r}; allowed: {EFFICIENTNET_LITE0} or {TORCHVISION}<name>")
        if self.weights.startswith(RANDOM) and not self.weights.removeprefix(RANDOM).isdecimal():
            raise ValueError(f"weights is {self.weights!r}; allowed: {RANDOM}<seed> with a whole number")
        check_range(self, "image_px", low=32)
        check_range(self, "early_weight", low=0)
        check_range(self, "batch_size", low=1)
