"""Laws of encoders over any text and any picture: unit norm, order, and neighbours that change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.encoders.inputs import read_pixels
from tests.unit.encoders.kinds import image_encoder, make_image, text_encoder

TEXTS = st.lists(st.text(max_size=60), min_size=1, max_size=6)
SIZES = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=4)
TOLERANCE = 1e-5  # sums in another order; stated in the encoders' docstrings


@pytest.mark.parametrize("kind", ["random_bert_mean", "random_bert_cls", "use_multilingual", "onnx_fp32_random_bert"])
@settings(max_examples=25)
@given(texts=TEXTS, data=st.data())
def test_any_text_has_a_unit_vector_that_its_neighbours_do_not_change(
    kind: str, texts: list[str], data: st.DataObject
) -> None:
    encoder = text_encoder(kind)
    vectors_ND = encoder.encode(texts)
    assert np.allclose(np.linalg.norm(vectors_ND, axis=1), 1.0, atol=TOLERANCE)
    order = data.draw(st.permutations(range(len(texts))))
    assert np.allclose(encoder.encode([texts[n] for n in order]), vectors_ND[order], atol=TOLERANCE)
    assert np.allclose(encoder.encode(texts[:1])[0], vectors_ND[0], atol=TOLERANCE)


@settings(max_examples=25)
@given(texts=TEXTS)
def test_an_int8_query_has_the_same_bits_alone_and_in_company(texts: list[str]) -> None:
    encoder = text_encoder("onnx_int8_random_bert")
    assert np.array_equal(encoder.encode(texts), np.concatenate([encoder.encode([text]) for text in texts]))


@settings(max_examples=15)
@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_any_image_has_a_unit_vector_that_its_neighbours_do_not_change(sizes: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [make_image(rng, height, width) for height, width in sizes]
    encoder = image_encoder("random_mobilenet")
    vectors_ND = encoder.encode(images)
    assert np.allclose(np.linalg.norm(vectors_ND, axis=1), 1.0, atol=TOLERANCE)
    assert np.allclose(encoder.encode(images[-1:])[0], vectors_ND[-1], atol=TOLERANCE)


@settings(max_examples=25)
@given(height=st.integers(1, 200), width=st.integers(1, 200), side=st.integers(32, 96))
def test_a_black_image_keeps_its_proportions_to_the_pixel(height: int, width: int, side: int) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "png")
    black_SS = (read_pixels([buffer.getvalue()], side)[0] == 0).all(axis=2)
    scale = side / max(height, width)
    assert int(black_SS.any(axis=1).sum()) == max(1, round(height * scale))
    assert int(black_SS.any(axis=0).sum()) == max(1, round(width * scale))
