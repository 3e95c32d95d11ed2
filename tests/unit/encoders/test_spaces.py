"""Space ids: equal for every way to run one model, different after every change of the vectors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from intarsia.encoders.config import EFFICIENTNET_LITE0, USE_MULTILINGUAL, ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.open import open_image_encoder, open_text_encoder
from intarsia.encoders.protocol import digest_arrays, name_space
from tests.unit.encoders.kinds import image_encoder, make_image, text_config, text_encoder, write_random_bert


@pytest.mark.parametrize(
    ("exported", "original", "cosine"),
    [
        ("onnx_fp32_random_bert", "random_bert_mean", 0.99999),
        ("onnx_int8_random_bert", "random_bert_mean", 0.99),
        ("onnx_int8_minilm", "minilm", 0.985),
        ("exported_use_multilingual", "use_multilingual", 0.99999),
    ],
)
def test_an_exported_text_encoder_keeps_the_space_and_nearly_the_vector(
    exported: str, original: str, cosine: float
) -> None:
    texts = ["red shoes", "蓝牙耳机", "a summer dress", ""]
    query, catalog = text_encoder(exported), text_encoder(original)
    assert query.space_id == catalog.space_id
    assert np.vecdot(query.encode(texts), catalog.encode(texts)).mean() > cosine


def test_an_exported_image_encoder_keeps_the_space_and_the_vector(rng: np.random.Generator) -> None:
    images = [make_image(rng, 80, 60), make_image(rng, 50, 200)]
    query, catalog = image_encoder("onnx_fp32_lite0"), image_encoder("lite0")
    assert query.space_id == catalog.space_id
    assert np.allclose(query.encode(images), catalog.encode(images), atol=1e-4)


@pytest.mark.parametrize(
    "change", [{"pooling": "cls"}, {"max_tokens": 31}, {"prefix": "query: "}, {"reading": "folded"}]
)
def test_what_changes_a_text_vector_changes_the_space(change: dict[str, object]) -> None:
    config = text_config("random_bert_mean")
    assert (
        open_text_encoder(dataclasses.replace(config, **change)).space_id != text_encoder("random_bert_mean").space_id
    )


def test_the_batch_size_and_the_folder_do_not_change_the_space(tmp_path: Path) -> None:
    moved = write_random_bert(tmp_path / "moved")
    config = dataclasses.replace(text_config("random_bert_mean"), model=str(moved), batch_size=2)
    assert open_text_encoder(config).space_id == text_encoder("random_bert_mean").space_id


def test_other_weights_are_another_space(tmp_path: Path) -> None:
    other = write_random_bert(tmp_path / "other", seed=4)
    config = dataclasses.replace(text_config("random_bert_mean"), model=str(other))
    assert open_text_encoder(config).space_id != text_encoder("random_bert_mean").space_id


@pytest.mark.parametrize("change", [{"max_tokens": 64}, {"prefix": "x "}, {"reading": "folded"}])
def test_what_changes_a_multilingual_vector_changes_the_space(change: dict[str, object]) -> None:
    changed = open_text_encoder(TextEncoderConfig(model=USE_MULTILINGUAL, **change))
    assert changed.space_id != text_encoder("use_multilingual").space_id


@pytest.mark.parametrize("change", [{"image_px": 96}, {"early_weight": 1.0}, {"early_weight": 0.0}])
def test_what_changes_an_image_vector_changes_the_space(change: dict[str, object]) -> None:
    config = ImageEncoderConfig(model=EFFICIENTNET_LITE0, image_px=64)
    changed = open_image_encoder(dataclasses.replace(config, **change))
    assert changed.space_id != image_encoder("lite0").space_id


def test_another_seed_is_another_space() -> None:
    config = ImageEncoderConfig(model="torchvision:mobilenet_v3_small", weights="random:8", image_px=64)
    assert open_image_encoder(config).space_id != image_encoder("random_mobilenet").space_id


def test_a_digest_of_arrays_sees_name_dtype_shape_and_value_but_not_order() -> None:
    a, b = np.arange(4, dtype=np.float32), np.ones(2, np.float32)
    digest = digest_arrays([("a", a), ("b", b)])
    assert digest == digest_arrays([("b", b), ("a", a)])
    changed = [
        [("a", a), ("c", b)],
        [("a", a.astype(np.float64)), ("b", b)],
        [("a", a.reshape(2, 2)), ("b", b)],
        [("a", a + 1), ("b", b)],
    ]
    assert digest not in [digest_arrays(c) for c in changed]


def test_a_space_is_named_by_family_weights_and_settings() -> None:
    names = {
        name_space("text", "w", {"x": 1}),
        name_space("image", "w", {"x": 1}),
        name_space("text", "v", {"x": 1}),
        name_space("text", "w", {"x": 2}),
    }
    assert len(names) == 4
    assert name_space("text", "w", {"x": 1}).startswith("text-")
