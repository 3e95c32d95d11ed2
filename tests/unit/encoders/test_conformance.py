"""The encoder protocol, tested on every kind of encoder."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.encoders.protocol import Encoder
from tests.unit.encoders.kinds import IMAGE_KINDS, TEXT_KINDS, image_encoder, make_image, text_encoder

TEXTS = [
    "red shoes",
    "",
    "红色运动鞋",
    "a",
    "blue wireless headphones for men 2024 " * 3,
    "连衣裙 summer",
    "Ｆｕｌｌ width",
]


@pytest.fixture(params=TEXT_KINDS)
def text(request: pytest.FixtureRequest) -> Encoder[str]:
    return text_encoder(request.param)


@pytest.fixture(params=IMAGE_KINDS)
def image(request: pytest.FixtureRequest) -> Encoder[bytes]:
    return image_encoder(request.param)


@pytest.fixture
def images(rng: np.random.Generator) -> list[bytes]:
    return [make_image(rng, height, width) for height, width in ((80, 60), (1, 1), (7, 300), (300, 7), (64, 64))]


def test_text_vectors_are_float32_rows_of_norm_one(text: Encoder[str]) -> None:
    vectors_ND = text.encode(TEXTS)
    assert vectors_ND.dtype == np.float32
    assert vectors_ND.shape == (len(TEXTS), text.dim)
    assert np.allclose(np.linalg.norm(vectors_ND, axis=1), 1.0, atol=1e-5)


def test_no_texts_give_no_rows_of_full_width(text: Encoder[str]) -> None:
    assert text.encode([]).shape == (0, text.dim)


def test_text_order_is_kept_whatever_the_lengths(text: Encoder[str]) -> None:
    forward_ND, backward_ND = text.encode(TEXTS), text.encode(TEXTS[::-1])
    assert np.allclose(forward_ND, backward_ND[::-1], atol=1e-5)


def test_a_text_has_one_vector_alone_or_in_a_batch(text: Encoder[str]) -> None:
    together_ND = text.encode(TEXTS)
    for number, item in enumerate(TEXTS):
        assert np.allclose(text.encode([item])[0], together_ND[number], atol=1e-5), item


def test_different_texts_have_different_vectors(text: Encoder[str]) -> None:
    vectors_ND = text.encode(["red shoes", "blue headphones", "红色运动鞋"])
    assert np.all(np.triu(vectors_ND @ vectors_ND.T, 1) < 0.9999)


def test_the_same_call_gives_the_same_bits(text: Encoder[str]) -> None:
    assert np.array_equal(text.encode(TEXTS), text.encode(TEXTS))


def test_what_lies_beyond_max_tokens_is_not_read(text: Encoder[str]) -> None:
    long = "red shoes " * 300
    assert np.allclose(text.encode([long + "blue"]), text.encode([long + "green"]), atol=1e-5)


def test_image_vectors_are_float32_rows_of_norm_one(image: Encoder[bytes], images: list[bytes]) -> None:
    vectors_ND = image.encode(images)
    assert vectors_ND.dtype == np.float32
    assert vectors_ND.shape == (len(images), image.dim)
    assert np.allclose(np.linalg.norm(vectors_ND, axis=1), 1.0, atol=1e-5)


def test_no_images_give_no_rows_of_full_width(image: Encoder[bytes]) -> None:
    assert image.encode([]).shape == (0, image.dim)


def test_image_order_is_kept_across_batches(image: Encoder[bytes], images: list[bytes]) -> None:
    alone_ND = np.concatenate([image.encode([content]) for content in images])
    assert np.allclose(image.encode(images), alone_ND, atol=1e-5)


def test_different_images_have_different_vectors(image: Encoder[bytes], images: list[bytes]) -> None:
    vectors_ND = image.encode(images)
    assert np.all(np.triu(vectors_ND @ vectors_ND.T, 1) < 0.99999)
