"""Image towers opened for training, and saved to folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from intarsia.encoders.clip import ClipImageTower
from intarsia.encoders.cnn import ImageTower
from intarsia.encoders.config import EFFICIENTNET_LITE0, ImageEncoderConfig
from intarsia.encoders.export import export_image_encoder
from intarsia.encoders.image_folder import save_trained
from intarsia.encoders.open import open_image_encoder, open_query_encoder
from intarsia.errors import ArtifactError
from intarsia.training.image_pairs import open_trainable_image
from tests.unit.encoders.kinds import make_image

MODELS = (EFFICIENTNET_LITE0, "torchvision:mobilenet_v3_small", "untrained:cnn:3", "untrained:clip:3")
IMAGES = [make_image(np.random.default_rng(seed), 40, 60) for seed in range(3)]


def config_of(model: str) -> ImageEncoderConfig:
    return ImageEncoderConfig(model=model, weights="random:4", image_px=48)


@pytest.mark.parametrize("model", MODELS)
def test_an_untrained_tower_saved_and_opened_gives_the_vectors_it_gave(model: str, tmp_path: Path) -> None:
    trainable = open_trainable_image(config_of(model))
    save_trained(trainable, None, tmp_path / "tower")
    opened = open_image_encoder(ImageEncoderConfig(model=str(tmp_path / "tower")))
    original = open_image_encoder(config_of(model))
    assert opened.image_px == trainable.image_px == original.image_px
    assert opened.dim == trainable.dim == original.dim
    assert np.allclose(opened.encode(IMAGES), original.encode(IMAGES), atol=1e-5)


def test_a_trained_weight_makes_another_space(tmp_path: Path) -> None:
    trainable = open_trainable_image(config_of("untrained:cnn:3"))
    save_trained(trainable, None, tmp_path / "before")
    with torch.no_grad():
        next(trainable.tower.parameters()).add_(0.1)
    save_trained(trainable, None, tmp_path / "after")
    before, after = (open_image_encoder(ImageEncoderConfig(model=str(tmp_path / name))) for name in ("before", "after"))
    assert before.space_id != after.space_id
    assert not np.allclose(before.encode(IMAGES), after.encode(IMAGES), atol=1e-3)


def test_a_head_changes_the_width_and_is_exported(tmp_path: Path) -> None:
    trainable = open_trainable_image(config_of("untrained:cnn:3"))
    head = nn.Linear(trainable.dim, 7)
    save_trained(trainable, head, tmp_path / "tower")
    opened = open_image_encoder(ImageEncoderConfig(model=str(tmp_path / "tower")))
    bare_ND = open_image_encoder(config_of("untrained:cnn:3")).encode(IMAGES)
    with torch.inference_mode():
        expected_ND = nn.functional.normalize(head(torch.from_numpy(bare_ND))).numpy()
    assert np.allclose(opened.encode(IMAGES), expected_ND, atol=1e-5)
    card = export_image_encoder(opened, tmp_path / "query", probes=IMAGES)
    assert card["dim"] == 7
    assert np.allclose(open_query_encoder(tmp_path / "query").encode(IMAGES), expected_ND, atol=1e-4)


def test_training_resumes_from_a_folder_without_its_head(tmp_path: Path) -> None:
    trainable = open_trainable_image(config_of("untrained:cnn:3"))
    save_trained(trainable, nn.Linear(trainable.dim, 7), tmp_path / "tower")
    again = open_trainable_image(ImageEncoderConfig(model=str(tmp_path / "tower")))
    assert again.dim == trainable.dim and again.image_px == 48
    for (name, one), (_, other) in zip(
        again.tower.state_dict().items(), trainable.tower.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), name


def test_training_has_the_norms_apart_that_serving_folds_away() -> None:
    trainable = open_trainable_image(config_of("untrained:cnn:3"))
    served = open_image_encoder(config_of("untrained:cnn:3")).tower
    assert isinstance(trainable.tower, ImageTower)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in trainable.tower.modules()) == 4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in served.modules())


def test_a_clip_tower_is_trained_as_it_serves() -> None:
    assert isinstance(open_trainable_image(config_of("untrained:clip:3")).tower, ClipImageTower)


def test_a_torn_folder_is_named(tmp_path: Path) -> None:
    for model, name in (("untrained:cnn:3", "one"), ("torchvision:mobilenet_v3_small", "other")):
        save_trained(open_trainable_image(config_of(model)), None, tmp_path / name)
    weights = tmp_path / "one" / "model.safetensors"
    weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match=r"model.safetensors does not match tower.json: "):
        open_image_encoder(ImageEncoderConfig(model=str(tmp_path / "one")))
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"model.safetensors is missing; run `intarsia job finetune_image` again"):
        open_image_encoder(ImageEncoderConfig(model=str(tmp_path / "one")))


def test_an_inaccurate_int8_vision_transformer_is_not_used(tmp_path: Path) -> None:
    encoder = open_image_encoder(config_of("untrained:clip:3"))
    card = export_image_encoder(encoder, tmp_path, probes=IMAGES, min_cosine=1.01)
    assert card["int8_is"] == "fp32: its cosine is below 1.01"
    assert card["files"] == {"fp32": "model.fp32.onnx", "int8": "model.fp32.onnx"}
    assert not (tmp_path / "model.int8.onnx").exists()
