"""The published image weights in our network, on real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from intarsia.encoders.efficientnet_lite import PIXEL_MEAN, PIXEL_SCALE, EfficientNetLite0, load_in_order
from intarsia.encoders.inputs import read_pixels
from intarsia.encoders.offline_weights import offline_files

# indices of ImageNet classes
CLOG, BOOT, LOAFER, RUNNING_SHOE, SANDAL = 502, 514, 630, 770, 774
SHOES, SUNGLASSES = {CLOG, BOOT, LOAFER, RUNNING_SHOE, SANDAL}, {836, 837}


def test_the_lite0_weights_classify_shoes_and_sunglasses(shared_data: Path) -> None:
    """Fails on a wrong order of tensors, padding or pixel scale: each makes the classes random."""
    network = EfficientNetLite0().eval()
    load_in_order(network, torch.load(offline_files("offline:efficientnet-lite0")[0], weights_only=True))
    shoes, sunglasses = _images(shared_data, "Casual Shoes", 24), _images(shared_data, "Sunglasses", 12)
    assert np.mean([c in SHOES for c in _classes(network, shoes)]) >= 0.7
    assert np.mean([c in SUNGLASSES for c in _classes(network, sunglasses)]) >= 0.7


def _classes(network: EfficientNetLite0, images: list[bytes]) -> list[int]:
    pixels = torch.from_numpy(read_pixels(images, 224)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        return network((pixels - PIXEL_MEAN) / PIXEL_SCALE).argmax(dim=1).tolist()


def _images(shared_data: Path, article_type: str, count: int) -> list[bytes]:
    images: list[bytes] = []
    with (shared_data / "fashion15k" / "products.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["article_type"] == article_type and len(images) < count:
                images.append((shared_data / "fashion15k" / row["image"]).read_bytes())
    return images
