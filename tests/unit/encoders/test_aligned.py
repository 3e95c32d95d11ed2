from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.encoders.aligned import ALIGNMENT_CARD, ALIGNMENT_HEADS, Alignment, TextHeads, frequent_words, word_bag
from intarsia.errors import ArtifactError
from intarsia.ids import SpaceId, fold_of

WORD_IDS = {"red": 0, "bag": 1}


def alignment(num_heads: int = 3) -> Alignment:
    rng = np.random.default_rng(4)
    return Alignment(
        text_space=SpaceId("text-1"),
        image_space=SpaceId("image-1"),
        image_ED=np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32),
        image_bias_D=np.array([0.0, 1.0], np.float32),
        heads=TextHeads(
            word_ids=WORD_IDS,
            words_nHD=rng.normal(size=(2, num_heads, 2)).astype(np.float32),
            vector_HTD=rng.normal(size=(num_heads, 4, 2)).astype(np.float32),
            bias_HD=rng.normal(size=(num_heads, 2)).astype(np.float32),
        ),
    )


def test_an_image_is_projected_and_normalised() -> None:
    found_VD = alignment().images(np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]], np.float32))
    assert found_VD.tolist() == pytest.approx(np.array([[2, 3], [3, 4]]) / np.array([[13**0.5], [5.0]]))


def test_a_text_is_the_mean_by_root_of_its_words_and_its_projected_vector() -> None:
    one, text_T = alignment(), np.array([1.0, 0.0, 2.0, 0.0], np.float32)
    heads = one.heads
    sum_D = (heads.words_nHD[0, 0] + heads.words_nHD[1, 0]) / 2**0.5
    sum_D = sum_D + heads.vector_HTD[0, 0] + 2 * heads.vector_HTD[0, 2] + heads.bias_HD[0]
    np.testing.assert_allclose(one.text("Red bags, red", text_T), sum_D / np.linalg.norm(sum_D), rtol=1e-5)


def test_unknown_words_leave_only_the_projected_vector() -> None:
    one, text_T = alignment(), np.array([0.5, 0.5, 0.5, 0.5], np.float32)
    expected_D = text_T @ one.heads.vector_HTD[0] + one.heads.bias_HD[0]
    np.testing.assert_allclose(one.text("zebra", text_T), expected_D / np.linalg.norm(expected_D), rtol=1e-5)


def test_a_judged_train_query_is_read_by_the_head_of_its_fold() -> None:
    one, text_T = alignment(), np.ones(4, np.float32)
    for query_id in ("q1", "q2", "q3", "q4"):
        head = 1 + fold_of(query_id, 2)
        assert (
            one.text("red", text_T, train_query_id=query_id).tolist() == one.heads.project("red", text_T, head).tolist()
        )
    assert one.text("red", text_T).tolist() == one.heads.project("red", text_T, 0).tolist()


def test_the_serving_head_is_the_first_in_the_same_space() -> None:
    one, text_T = alignment(), np.ones(4, np.float32)
    served = one.serving()
    assert served.space_id == one.space_id
    assert served.heads.num_folds == 0
    assert served.text("red", text_T, train_query_id="q1").tobytes() == one.text("red", text_T).tobytes()


def test_what_was_saved_is_opened_bit_for_bit(tmp_path: Path) -> None:
    one, text_T = alignment(), np.array([1.0, 0.0, 2.0, 0.0], np.float32)
    one.save(tmp_path)
    again = Alignment.open(tmp_path)
    assert (again.space_id, again.dim, again.heads.num_folds) == (one.space_id, 2, 2)
    assert again.text("red", text_T).tobytes() == one.text("red", text_T).tobytes()
    assert again.heads.word_ids == WORD_IDS


def test_the_space_is_named_by_what_moves_images() -> None:
    one = alignment()
    assert one.space_id == replace(one, heads=alignment(num_heads=1).heads).space_id
    assert one.space_id != replace(one, image_bias_D=np.array([0.0, 2.0], np.float32)).space_id
    assert one.space_id != replace(one, image_space=SpaceId("image-2")).space_id


def test_a_torn_or_missing_alignment_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is not an alignment \(FileNotFoundError.*run align_modalities again"):
        Alignment.open(tmp_path)
    alignment().save(tmp_path)
    (tmp_path / ALIGNMENT_HEADS).write_bytes((tmp_path / ALIGNMENT_HEADS).read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=r"is not an alignment .*run align_modalities again"):
        Alignment.open(tmp_path)


def test_parts_of_other_widths_are_refused(tmp_path: Path) -> None:
    one = alignment()
    with pytest.raises(ArtifactError, match=r"have widths \[2, 3\] and 2 vectors for 2 words"):
        replace(one, image_bias_D=np.zeros(3, np.float32))
    one.save(tmp_path)
    (tmp_path / ALIGNMENT_CARD).write_text(
        (tmp_path / ALIGNMENT_CARD).read_text(encoding="utf-8").replace('"red"', '"red", "blue"'), "utf-8"
    )
    with pytest.raises(ArtifactError, match="2 vectors for 3 words; run align_modalities again"):
        Alignment.open(tmp_path)


def test_a_zero_text_vector_becomes_equal_values() -> None:
    heads = TextHeads(
        word_ids=WORD_IDS,
        words_nHD=np.zeros((2, 1, 2), np.float32),
        vector_HTD=np.zeros((1, 4, 2), np.float32),
        bias_HD=np.zeros((1, 2), np.float32),
    )
    assert replace(alignment(), heads=heads).text("red", np.ones(4, np.float32)).tolist() == pytest.approx(
        [0.5**0.5] * 2
    )


def test_words_are_counted_once_per_text_and_the_frequent_ones_come_first() -> None:
    texts = ["red red bag", "blue bag", "red hat"]
    assert frequent_words(texts, min_texts=2, max_words=9) == {"bag": 0, "red": 1}
    assert frequent_words(texts, min_texts=1, max_words=3) == {"bag": 0, "red": 1, "blue": 2}
    places, weight = word_bag("hat bag red", {"bag": 5, "red": 2})
    assert (places.tolist(), weight) == ([2, 5], 2**-0.5)
    assert word_bag("", {"bag": 5})[1] == 0.0
