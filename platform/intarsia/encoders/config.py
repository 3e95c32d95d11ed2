"""Settings of text and image encoders. `open.py` opens each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from intarsia.config import check_range, setting

MINILM = "offline:all-MiniLM-L6-v2"
USE_MULTILINGUAL = "offline:use-multilingual-v3"
EFFICIENTNET_LITE0 = "offline:efficientnet-lite0"
OFFLINE = "offline:"
TORCHVISION = "torchvision:"
UNTRAINED = "untrained:"
RANDOM = "random:"
LAKE_MODEL = "lake:"
"""Prefix of a tower that a job of this lake trained, such as lake:text_tower; see `lake_models.py`."""
TOWER_FILE = "tower.json"
"""File in the folder of a trained tower with its architecture, for kinds that `transformers` does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """Settings of a text encoder; every setting except `batch_size` changes its vector space."""

    model: str = setting(
        "offline:all-MiniLM-L6-v2 (English, 384 wide), offline:use-multilingual-v3 (Chinese, English and 14 more, 512 "
        "wide), a transformers encoder by hub name or folder (BERT family, GPT-2, CLIP family), a folder of "
        "finetune_text, or untrained:<kind>:<seed> (small; kinds bert, gpt2, clip, siglip, chinese_clip, bilstm, dnn)",
        MINILM,
    )
    pooling: Literal["mean", "cls", "last"] = setting(
        "vector of a text: mean of its tokens, first token (cls), or last token (causal models: last or mean); "
        "use-multilingual-v3 and the CLIP family have their own pooling",
        "mean",
        advanced=True,
    )
    max_tokens: int = setting(
        "longest text in tokens, special tokens included; the rest is cut off", 128, advanced=True
    )
    reading: Literal["clean", "folded"] = setting(
        "normalisation before the tokenizer: clean (NFKC, spaces), or folded (also lower case, simplified Chinese, no "
        "accents)",
        "clean",
    )
    prefix: str = setting("words before every text, for models that were trained with a prefix", "", advanced=True)
    batch_size: int = setting("texts per forward pass", 32, advanced=True)

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model is empty; allowed: a hub name, a folder, or offline:<name>")
        if self.max_tokens < 3:
            raise ValueError(f"max_tokens is {self.max_tokens}; allowed: 3 or more (two are special tokens)")
        check_range(self, "batch_size", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEncoderConfig:
    """Settings of an image encoder; every setting except `batch_size` changes its vector space."""

    model: str = setting(
        "offline:efficientnet-lite0, torchvision:<name> of a convolutional network, such as "
        "torchvision:mobilenet_v3_small, a model of the CLIP family by hub name (owner/name) or folder, a folder of "
        "finetune_image, or untrained:<kind>:<seed> (small; kinds cnn, clip, siglip, chinese_clip)",
        EFFICIENTNET_LITE0,
    )
    weights: str = setting(
        "torchvision models: DEFAULT (torchvision's own download), the path of a state dict, or random:<seed>",
        "DEFAULT",
        advanced=True,
    )
    image_px: int = setting(
        "side in pixels of the square that an image is fitted into; folders and the CLIP family have their own",
        160,
        advanced=True,
    )
    early_weight: float = setting(
        "convolutional networks: weight of the early feature map (colour, texture) relative to the last one; 0: off",
        2.0,
        advanced=True,
    )
    colour_weight: float = setting(
        "convolutional networks: weight of the colour histogram relative to the feature maps; 0: off",
        0.4,
        advanced=True,
    )
    batch_size: int = setting("images per forward pass", 16, advanced=True)

    def __post_init__(self) -> None:
        if not self.model.startswith((OFFLINE, TORCHVISION, UNTRAINED, LAKE_MODEL)) and "/" not in self.model:
            raise ValueError(
                f"model is {self.model!r}; allowed: {EFFICIENTNET_LITE0}, {TORCHVISION}<name>, "
                f"{UNTRAINED}<kind>:<seed>, a hub name (owner/name), or a folder (./name in the working directory)"
            )
        if self.weights.startswith(RANDOM) and not self.weights.removeprefix(RANDOM).isdecimal():
            raise ValueError(f"weights is {self.weights!r}; allowed: {RANDOM}<seed> with a whole number")
        check_range(self, "image_px", low=32)
        check_range(self, "early_weight", "colour_weight", low=0)
        check_range(self, "batch_size", low=1)
