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
UNTRAINED = "untrained:"
RANDOM = "random:"
LAKE_MODEL = "lake:"
"""Names a tower that a job of this lake has trained, such as lake:text_tower; whoever has the lake puts its folder there."""
TOWER_FILE = "tower.json"
"""What the folder of a trained tower says of its build, where `transformers` does not know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """One text encoder; every setting but `batch_size` changes its space."""

    model: str = setting(
        "transformers encoder by hub name or local folder (BERT family, GPT-2 and its kin, CLIP family; any language), a folder that "
        "finetune_text wrote, or offline:all-MiniLM-L6-v2 (English, 384 wide), offline:use-multilingual-v3 (Chinese, English and 14 more, "
        "512 wide), untrained:<kind>:<seed> (small, untrained: bert, gpt2, clip, siglip, chinese_clip, bilstm, dnn)",
        MINILM,
    )
    pooling: Literal["mean", "cls", "last"] = setting(
        "a text's vector: mean of its tokens, the first token, or the last one (causal models such as GPT-2: last or mean); does nothing "
        "for use-multilingual-v3 and the CLIP family, whose pooling is their own",
        "mean",
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
        "offline:efficientnet-lite0, torchvision:<name> of a convolutional network, such as torchvision:mobilenet_v3_small, a folder that "
        "finetune_image wrote, the picture side of the CLIP family by hub name (owner/name) or folder, or untrained:<kind>:<seed> (small, "
        "untrained: cnn, clip, siglip, chinese_clip)",
        EFFICIENTNET_LITE0,
    )
    weights: str = setting(
        "of a torchvision model: DEFAULT (torchvision's own download), the path of a state dict, or random:<seed>; does nothing for "
        "other models",
        "DEFAULT",
    )
    image_px: int = setting(
        "side of the square a picture is fitted into, pixels; does nothing for folders and the CLIP family, which read the side they were "
        "trained on",
        160,
    )
    early_weight: float = setting(
        "share of the early feature map, which keeps colour and texture, against the last one, which knows things; 0 leaves it out; does "
        "nothing for folders and the CLIP family",
        2.0,
    )
    colour_weight: float = setting(
        "share of the colour histogram against the two feature maps; 0 leaves it out; does nothing for a vision transformer",
        0.4,
    )
    batch_size: int = setting("pictures per forward pass", 16)

    def __post_init__(self) -> None:
        if not self.model.startswith((OFFLINE, TORCHVISION, UNTRAINED, LAKE_MODEL)) and "/" not in self.model:
            raise ValueError(
                f"model is {self.model!r}; allowed: {EFFICIENTNET_LITE0}, {TORCHVISION}<name>, {UNTRAINED}<kind>:<seed>, a hub name "
                "(owner/name), or a folder (./name for one beside you)"
            )
        if self.weights.startswith(RANDOM) and not self.weights.removeprefix(RANDOM).isdecimal():
            raise ValueError(f"weights is {self.weights!r}; allowed: {RANDOM}<seed> with a whole number")
        check_range(self, "image_px", low=32)
        check_range(self, "early_weight", "colour_weight", low=0)
        check_range(self, "batch_size", low=1)
