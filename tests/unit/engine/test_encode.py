from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.errors import ReleaseMismatch
from intarsia.experiments.judged_candidates import open_judged_encoders
from intarsia.ids import ProductId, SpaceId
from intarsia.image import ImageError
from tests.unit.engine.small_release import ask, image, shop

ENCODERS = shop().engine().encoders


@pytest.mark.parametrize(
    ("text", "image", "expected"),
    [
        ("red bag", None, {"text", "aligned"}),
        (None, image("red"), {"image"}),
        ("red bag", image("red"), {"text", "image", "aligned"}),
        (None, None, set()),
        ("", b"", set()),
    ],
)
def test_each_part_that_is_given_becomes_a_vector(text: str | None, image: bytes | None, expected: set[str]) -> None:
    encoded = ENCODERS.encode(ask(text, image=image, seed_product_ids=(ProductId("p000"),)))
    assert set(encoded.vectors) == expected
    for name, vector in encoded.vectors.items():
        assert vector.space_id == ENCODERS.spaces[name]
        assert np.linalg.norm(vector.values_D) == pytest.approx(1.0, abs=1e-6)


def test_a_text_vector_has_the_same_bits_with_and_without_an_image() -> None:
    without_image = ENCODERS.encode(ask("blue mug")).vectors["text"].values_D
    with_image = ENCODERS.encode(ask("blue mug", image=image("red"))).vectors["text"].values_D
    assert without_image.tobytes() == with_image.tobytes()


def test_bytes_that_are_not_an_image_are_refused() -> None:
    with pytest.raises(ImageError, match="not an image"):
        ENCODERS.encode(ask(image=b"words"))


@pytest.mark.parametrize("wrong", ["text", "image", "aligned"])
def test_encoders_of_another_space_are_refused_by_name(wrong: str) -> None:
    spaces = dict(ENCODERS.spaces)
    ENCODERS.check_spaces(spaces)
    message = (
        f"the {wrong} query encoder makes vectors of space {spaces[wrong]}, the index holds other. "
        "Fix: run embed_products, align_modalities, export_query_encoders and build_indexes with one config"
    )
    with pytest.raises(ReleaseMismatch, match=message):
        ENCODERS.check_spaces({**spaces, wrong: SpaceId("other")})


def test_encoders_refuse_an_index_without_their_aligned_space() -> None:
    spaces = {name: space for name, space in ENCODERS.spaces.items() if name != "aligned"}
    with pytest.raises(
        ReleaseMismatch, match=r"aligned query encoder makes vectors of space aligned-.*, the index holds None"
    ):
        ENCODERS.check_spaces(spaces)


def test_a_judged_train_query_is_encoded_by_the_head_of_its_fold() -> None:
    query, encoders = ask("red bag"), open_judged_encoders(shop().lake)
    served, judged = (
        encoders.encode(query, judged_in_train=judged_in_train).vectors["aligned"] for judged_in_train in (False, True)
    )
    assert served.values_D.tobytes() == ENCODERS.encode(query).vectors["aligned"].values_D.tobytes()
    assert served.space_id == judged.space_id
    assert served.values_D.tolist() != judged.values_D.tolist()


def test_encoding_keeps_the_query() -> None:
    query = ask("red", offset=3, explain=True)
    assert replace(ENCODERS.encode(query), vectors={}).query == query


def test_an_alignment_over_another_encoder_is_refused_by_name() -> None:
    assert ENCODERS.aligned is not None
    other = replace(ENCODERS, aligned=replace(ENCODERS.aligned, text_space=SpaceId("old")))
    with pytest.raises(ReleaseMismatch, match="trained over text space old, the text encoder makes corner-text"):
        other.check_spaces(other.spaces)
