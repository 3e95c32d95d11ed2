from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from intarsia.errors import ConfigError, DataError, ReleaseMismatch
from intarsia.fusion.feature.config import FeatureFitConfig
from intarsia.fusion.feature.fit import (
    JudgedListSampler,
    ProductSampler,
    fit_scorer,
    hide_modalities,
    initial_projections,
    keep_at_least_one,
)
from intarsia.fusion.feature.scorer import VALIDATION_CURVE, ModalityArrays, product_arrays
from intarsia.fusion.protocol import FusionTrainingData
from tests.unit.fusion.feature.vector_catalog import NUM_PRODUCTS, SMALL, TEXT_DIM, candidates, training_data, unit

SHORT = replace(SMALL, num_steps=2)


def arrays() -> ModalityArrays:
    products = training_data().products
    assert products is not None
    return product_arrays(products)


def test_lessons_without_product_vectors_are_refused() -> None:
    taught = training_data()
    for train, validation in ((replace(taught, products=None), taught), (taught, replace(taught, products=None))):
        with pytest.raises(ConfigError, match=r"gated compares vectors of products, and the training data has none"):
            fit_scorer("gated", train, validation, SHORT)


def test_lessons_without_a_relevant_candidate_are_refused() -> None:
    taught = training_data()
    nothing = replace(taught, grades=[np.zeros_like(grades) for grades in taught.grades])
    with pytest.raises(DataError, match="24 train queries"):
        fit_scorer("average", nothing, taught, SHORT)


def test_a_query_vector_of_another_width_is_refused() -> None:
    taught = training_data()
    other = [candidates(one.rows_C, {"text": unit(np.ones(TEXT_DIM + 1))}) for one in taught.candidates]
    with pytest.raises(ReleaseMismatch, match=r"text vector has 25 numbers, the products' have 24"):
        fit_scorer("average", replace(taught, candidates=other), taught, SHORT)


def test_fitting_neither_reads_nor_moves_the_randomness_of_others() -> None:
    def fit() -> list[tuple[int, float]]:
        curve: list[tuple[int, float]] = fit_scorer(
            "concat", training_data(), training_data(seed=6), SHORT, seed=4
        ).metadata[VALIDATION_CURVE]
        return curve

    torch.manual_seed(1)
    first, after_first = fit(), torch.rand(3)
    torch.manual_seed(2)
    assert fit() == first
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after_first)


def test_the_validation_queries_may_be_empty_handed() -> None:
    taught = training_data()
    nobody = [candidates(np.empty(0, np.int64), {"text": unit(np.ones(TEXT_DIM))})]
    silent = FusionTrainingData(
        query_ids=("q",), candidates=nobody, grades=[np.empty(0)], judged=[np.array([1.0])], products=taught.products
    )
    assert fit_scorer("average", taught, silent, SHORT).metadata[VALIDATION_CURVE][-1][1] == 0.0


@pytest.mark.parametrize("without", ["products_weight", "own_weight", "modality_dropout", "dropout"])
def test_each_part_of_the_loss_can_be_left_out(without: str) -> None:
    fit_scorer("common_space", training_data(), training_data(seed=6), replace(SHORT, **{without: 0.0}))


def test_products_of_whom_none_has_both_leave_the_own_losses_at_nothing() -> None:
    taught = training_data()
    assert taught.products is not None
    has_N2 = taught.products.has_N2.copy()
    has_N2[::2, 0], has_N2[1::2, 1] = False, False
    taught = replace(taught, products=replace(taught.products, has_N2=has_N2))
    for kind in ("common_space", "adversarial"):
        curve = fit_scorer(kind, taught, taught, SHORT).metadata[VALIDATION_CURVE]
        assert np.isfinite([ndcg for _, ndcg in curve]).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"width": 10, "num_heads": 4}, "width 10 is not a multiple of num_heads 4"),
        ({"num_steps": 0}, "num_steps is 0; allowed: 1 or more"),
        ({"products_per_step": 1}, "products_per_step is 1; allowed: 2 or more"),
        ({"dropout": 0.95}, r"dropout is 0\.95; allowed: 0\.0 to 0\.9"),
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0; allowed: 0\.0 or more"),
    ],
)
def test_a_config_out_of_range_is_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FeatureFitConfig(**wrong)  # type: ignore[arg-type]


def test_a_image_starts_near_the_text_of_its_product(rng: np.random.Generator) -> None:
    products = arrays()
    text_DH, image_EH = initial_projections(products, 16, rng)
    assert np.allclose(text_DH.T @ text_DH, np.eye(16), atol=1e-9)
    texts, images = unit(products.text @ text_DH), unit(products.image @ image_EH)
    own = np.vecdot(texts, images).mean()
    others = np.vecdot(texts, np.roll(images, 1, axis=0)).mean()
    assert own > others + 0.05


def test_too_few_products_start_at_random_directions_of_unit_length(rng: np.random.Generator) -> None:
    one = arrays().rows(np.array([3]))
    text_DH, image_EH = initial_projections(one, 16, rng)
    for directions in (text_DH, image_EH):
        assert np.allclose(np.linalg.norm(directions, axis=0), 1.0)
    assert abs(float((one.text @ text_DH)[0, 0])) == pytest.approx(1.0, abs=1e-5)  # the one direction there is


def test_hiding_never_hides_the_only_one(rng: np.random.Generator) -> None:
    has = rng.random((2000, 2)) < 0.6
    hidden = hide_modalities(has, 0.5, rng)
    assert not (hidden & ~has).any()
    assert (hidden.any(axis=1) == has.any(axis=1)).all()
    both = has.all(axis=1)
    assert np.mean(hidden[both].all(axis=1)) == pytest.approx(
        0.25 + 0.25, abs=0.05
    )  # none hidden, or both: then none is
    assert keep_at_least_one(np.array([[False, False]]), np.array([[True, False]])).tolist() == [[True, False]]


def test_every_query_with_a_relevant_candidate_comes_once_a_round(rng: np.random.Generator) -> None:
    taught = training_data()
    grades = [*taught.grades]
    grades[3] = np.zeros_like(grades[3])
    lists = JudgedListSampler(replace(taught, grades=grades), rng)
    steps = [lists.draw(5, 10) for _ in range(5)]
    shown = np.concatenate([step.queries_G for step in steps])
    assert sorted(shown[:23].tolist()) == [i for i in range(24) if i != 3]


def test_a_list_is_at_most_half_relevant_and_says_which_places_are_filled(rng: np.random.Generator) -> None:
    taught = training_data()
    step = JudgedListSampler(taught, rng).draw(24, 6)
    assert ((step.gains_GL > 0).sum(axis=1) <= 3).all()
    assert step.filled_GL.all()
    assert (np.sort(step.rows_GL, axis=1)[:, 1:] != np.sort(step.rows_GL, axis=1)[:, :-1]).all()
    wide = JudgedListSampler(taught, rng).draw(24, 200)
    for query, rows, gains, filled in zip(*wide, strict=True):
        assert filled.sum() == len(taught.candidates[query].rows_C)
        assert sorted(rows[filled]) == taught.candidates[query].rows_C.tolist()
        expected = dict(zip(taught.candidates[query].rows_C.tolist(), np.exp2(taught.grades[query]) - 1, strict=True))
        assert all(gain == expected[row] for row, gain in zip(rows[filled], gains[filled], strict=True))


def test_products_of_the_same_text_are_no_wrong_answers_for_each_other(rng: np.random.Generator) -> None:
    products = arrays()
    twins = products._replace(text=np.repeat(products.text[::2], 2, axis=0))
    step = ProductSampler(twins, rng).draw(NUM_PRODUCTS, 0.2)
    same = (step.rows_P[:, None] // 2) == (step.rows_P // 2)
    assert not step.candidates_PP[same & ~np.eye(NUM_PRODUCTS, dtype=bool)].any()
    assert step.candidates_PP.diagonal().all()


def test_half_of_the_products_must_be_found_by_the_other_part(rng: np.random.Generator) -> None:
    products = arrays()
    step = ProductSampler(products, rng).draw(NUM_PRODUCTS, 0.0)
    by_text = step.query_has_P2[:, 0] & ~step.query_has_P2[:, 1]
    assert by_text.mean() == pytest.approx(0.7, abs=0.1)
    assert (step.product_has_P2[by_text, 1]).all()
    assert step.product_has_P2[by_text, 0].mean() == pytest.approx(0.5, abs=0.1)
    textless = products._replace(has=np.tile([False, True], (NUM_PRODUCTS, 1)))
    step = ProductSampler(textless, rng).draw(8, 0.9)
    assert (step.query_has_P2 == [False, True]).all()
    assert (step.product_has_P2 == [False, True]).all()
