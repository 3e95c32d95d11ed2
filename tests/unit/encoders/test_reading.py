"""Inputs of encoders (texts, products, images), and pooling."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.encoders.inputs import TextTokenizer, pad, product_text, read_pixels, read_text
from intarsia.encoders.pooling import mean_of_tokens, unit_rows
from intarsia.ids import ProductId
from intarsia.records.product import Product
from tests.unit.encoders.kinds import exported_text, text_encoder


def png(rgb: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb.astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def test_padding_is_marked_and_nothing_else() -> None:
    ids_NT, mask_NT = pad([[5, 6], [7]], pad_id=9)
    assert ids_NT.tolist() == [[5, 6], [7, 9]]
    assert mask_NT.tolist() == [[1, 1], [1, 0]]


def test_no_texts_are_padded_to_nothing() -> None:
    assert pad([], pad_id=0)[0].shape == (0, 0)


def test_a_text_is_read_clean_or_folded_with_its_prefix() -> None:
    assert read_text("  Ｒed\u200b 紅色 ", "clean") == "Red 紅色"
    assert read_text("  Ｒed 紅色 ", "folded", "query: ") == "query: red 红色"


def test_a_cut_text_keeps_the_closing_mark() -> None:
    tokenizer = TextTokenizer.open(
        exported_text("random_bert_mean") / "tokenizer.json", max_tokens=4, reading="clean", prefix=""
    )
    (whole, cut) = tokenizer.ids(["a", "a b c d e f"])
    assert len(whole) == 3 and len(cut) == 4
    assert cut[-1] == whole[-1] and cut[0] == whole[0]


def test_the_multilingual_encoder_cuts_and_keeps_the_closing_mark() -> None:
    backend = text_encoder("use_multilingual")._backend  # type: ignore[attr-defined]
    ids = backend.sp.encode("red shoes " * 300, out_type=int, add_bos=True, add_eos=True)
    assert len(ids) == 128
    assert (ids[0], ids[-1]) == (1, 2)


def test_the_mean_of_tokens_does_not_see_padding() -> None:
    states_NTD = torch.tensor([[[1.0, 3.0], [3.0, 5.0], [100.0, 100.0]]])
    assert mean_of_tokens(states_NTD, torch.tensor([[1, 1, 0]])).tolist() == [[2.0, 4.0]]


def test_a_row_of_zeros_becomes_a_unit_row_without_direction() -> None:
    rows_ND = unit_rows(torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 4.0, 0.0]]))
    assert torch.allclose(rows_ND, torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.6, 0.0, 0.8, 0.0]]))


def test_a_wide_image_is_centred_on_white_and_keeps_its_shape() -> None:
    pixels_SS3 = read_pixels([png(np.zeros((20, 40, 3)))], 64)[0]
    black_rows = np.flatnonzero((pixels_SS3 == 0).all(axis=(1, 2)))
    assert black_rows.tolist() == list(range(16, 48))
    assert (pixels_SS3[:16] == 255).all() and (pixels_SS3[48:] == 255).all()


def test_a_fine_pattern_shrinks_to_its_mean() -> None:
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255)[..., None].repeat(3, axis=2)
    pixels_SS3 = read_pixels([png(board)], 32)[0]
    assert np.abs(pixels_SS3[4:-4, 4:-4].astype(int) - 127).max() <= 2


def test_product_text_joins_fields_in_order() -> None:
    product = Product(
        product_id=ProductId("p"),
        title="Runner",
        description="Light.",
        category_path=("Shoes", "Sports"),
        attributes={"colour": ("red", "white"), "brand_line": ("Air",)},
    )
    assert product_text(product, ("title",)) == "Runner"
    assert product_text(product, ("brand", "category", "title")) == "Shoes Sports Runner"
    assert product_text(product, ("description", "attributes")) == "Light. Air red white"


@pytest.mark.parametrize("side", [32, 33, 47])
def test_every_side_gives_a_square_of_that_side(side: int) -> None:
    assert read_pixels([png(np.full((3, 5, 3), 9))], side).shape == (1, side, side, 3)
