from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from intarsia.errors import ConfigError, DataError, ReleaseMismatch
from intarsia.fusion.feature import fit as fit_module
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


def test_training_data_without_product_vectors_is_refused() -> None:
    data = training_data()
    for train, validation in ((replace(data, products=None), data), (data, replace(data, products=None))):
        with pytest.raises(ConfigError, match=r"gated compares vectors of products, and the training data has none"):
            fit_scorer("gated", train, validation, SHORT)


def test_training_data_without_a_relevant_candidate_is_refused() -> None:
    data = training_data()
    irrelevant_data = replace(data, grades=[np.zeros_like(grades) for grades in data.grades])
    with pytest.raises(DataError, match="24 train queries"):
        fit_scorer("average", irrelevant_data, data, SHORT)


def test_a_query_vector_of_another_width_is_refused() -> None:
    data = training_data()
    other = [candidates(single.rows_C, {"text": unit(np.ones(TEXT_DIM + 1))}) for single in data.candidates]
    with pytest.raises(ReleaseMismatch, match=r"text vector has 25 numbers, the products' have 24"):
        fit_scorer("average", replace(data, candidates=other), data, SHORT)


def test_fitting_does_not_use_the_global_random_state() -> None:
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


def test_validation_queries_may_have_no_candidates() -> None:
    data = training_data()
    no_candidates = [candidates(np.empty(0, np.int64), {"text": unit(np.ones(TEXT_DIM))})]
    irrelevant = FusionTrainingData(
        query_ids=("q",),
        candidates=no_candidates,
        grades=[np.empty(0)],
        judged=[np.array([1.0])],
        products=data.products,
    )
    assert fit_scorer("average", data, irrelevant, SHORT).metadata[VALIDATION_CURVE][-1][1] == 0.0


@pytest.mark.parametrize("without", ["products_weight", "own_weight", "modality_dropout", "dropout"])
def test_each_part_of_the_loss_can_be_disabled(without: str) -> None:
    fit_scorer("common_space", training_data(), training_data(seed=6), replace(SHORT, **{without: 0.0}))


def test_auxiliary_losses_are_zero_if_no_product_has_both_modalities() -> None:
    data = training_data()
    assert data.products is not None
    has_N2 = data.products.has_N2.copy()
    has_N2[::2, 0], has_N2[1::2, 1] = False, False
    data = replace(data, products=replace(data.products, has_N2=has_N2))
    for kind in ("common_space", "adversarial"):
        curve = fit_scorer(kind, data, data, SHORT).metadata[VALIDATION_CURVE]
        assert np.isfinite([ndcg for _, ndcg in curve]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 10, "num_heads": 4}, "width 10 is not a multiple of num_heads 4"),
        ({"num_steps": 0}, "num_steps is 0; allowed: 1 or more"),
        ({"products_per_step": 1}, "products_per_step is 1; allowed: 2 or more"),
        ({"dropout": 0.95}, r"dropout is 0\.95; allowed: 0\.0 to 0\.9"),
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0; allowed: 0\.0 or more"),
    ],
)
def test_a_config_out_of_range_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureFitConfig(**values)  # type: ignore[arg-type]


def test_initially_an_image_is_near_the_text_of_its_product(rng: np.random.Generator) -> None:
    products = arrays()
    text_DH, image_EH = initial_projections(products, 16, rng)
    assert np.allclose(text_DH.T @ text_DH, np.eye(16), atol=1e-9)
    texts, images = unit(products.text @ text_DH), unit(products.image @ image_EH)
    own_cosines = np.vecdot(texts, images).mean()
    other_cosines = np.vecdot(texts, np.roll(images, 1, axis=0)).mean()
    assert own_cosines > other_cosines + 0.05


def test_with_too_few_products_the_projections_are_random_unit_vectors(rng: np.random.Generator) -> None:
    single = arrays().rows(np.array([3]))
    text_DH, image_EH = initial_projections(single, 16, rng)
    for directions in (text_DH, image_EH):
        assert np.allclose(np.linalg.norm(directions, axis=0), 1.0)
    assert abs(float((single.text @ text_DH)[0, 0])) == pytest.approx(1.0, abs=1e-5)  # the only principal direction


def test_hiding_never_hides_the_only_modality(rng: np.random.Generator) -> None:
    has = rng.random((2000, 2)) < 0.6
    hidden = hide_modalities(has, 0.5, rng)
    assert not (hidden & ~has).any()
    assert (hidden.any(axis=1) == has.any(axis=1)).all()
    both = has.all(axis=1)
    # neither modality is drawn, or both are, and then none is hidden
    assert np.mean(hidden[both].all(axis=1)) == pytest.approx(0.25 + 0.25, abs=0.05)
    assert keep_at_least_one(np.array([[False, False]]), np.array([[True, False]])).tolist() == [[True, False]]


def test_every_query_with_a_relevant_candidate_is_drawn_once_a_round(rng: np.random.Generator) -> None:
    data = training_data()
    grades = [*data.grades]
    grades[3] = np.zeros_like(grades[3])
    sampler = JudgedListSampler(replace(data, grades=grades), rng)
    batches = [sampler.draw(5, 10) for _ in range(5)]
    drawn = np.concatenate([batch.queries_G for batch in batches])
    assert sorted(drawn[:23].tolist()) == [i for i in range(24) if i != 3]


def test_a_list_is_at_most_half_relevant_and_marks_padding(rng: np.random.Generator) -> None:
    data = training_data()
    batch = JudgedListSampler(data, rng).draw(24, 6)
    assert ((batch.gains_GL > 0).sum(axis=1) <= 3).all()
    assert batch.filled_GL.all()
    assert (np.sort(batch.rows_GL, axis=1)[:, 1:] != np.sort(batch.rows_GL, axis=1)[:, :-1]).all()
    padded = JudgedListSampler(data, rng).draw(24, 200)
    for query, rows, gains, filled in zip(*padded, strict=True):
        assert filled.sum() == len(data.candidates[query].rows_C)
        assert sorted(rows[filled]) == data.candidates[query].rows_C.tolist()
        expected = dict(zip(data.candidates[query].rows_C.tolist(), np.exp2(data.grades[query]) - 1, strict=True))
        assert all(gain == expected[row] for row, gain in zip(rows[filled], gains[filled], strict=True))


def test_products_of_equal_texts_are_not_negatives_of_each_other(rng: np.random.Generator) -> None:
    products = arrays()
    pairs = products._replace(text=np.repeat(products.text[::2], 2, axis=0))
    batch = ProductSampler(pairs, rng).draw(NUM_PRODUCTS, 0.2)
    same = (batch.rows_P[:, None] // 2) == (batch.rows_P // 2)
    assert not batch.candidates_PP[same & ~np.eye(NUM_PRODUCTS, dtype=bool)].any()
    assert batch.candidates_PP.diagonal().all()


def test_half_of_the_products_lose_the_modality_of_their_query(rng: np.random.Generator) -> None:
    products = arrays()
    batch = ProductSampler(products, rng).draw(NUM_PRODUCTS, 0.0)
    by_text = batch.query_has_P2[:, 0] & ~batch.query_has_P2[:, 1]
    assert by_text.mean() == pytest.approx(0.7, abs=0.1)
    assert (batch.product_has_P2[by_text, 1]).all()
    assert batch.product_has_P2[by_text, 0].mean() == pytest.approx(0.5, abs=0.1)
    images_only = products._replace(has=np.tile([False, True], (NUM_PRODUCTS, 1)))
    batch = ProductSampler(images_only, rng).draw(8, 0.9)
    assert (batch.query_has_P2 == [False, True]).all()
    assert (batch.product_has_P2 == [False, True]).all()


def test_projected_images_are_near_their_texts_also_with_a_sample_of_the_catalog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    text_nD = rng.normal(size=(400, 6)) * [5, 4, 3, 0.1, 0.1, 0.1]
    image_nE = text_nD[:, :3] @ rng.normal(size=(3, 4))  # images depend on the principal directions of texts
    catalog = ModalityArrays(text_nD.astype(np.float32), image_nE.astype(np.float32), np.ones((400, 2), np.bool_))
    text_DH, image_EH = initial_projections(catalog, 3, np.random.default_rng(0))
    assert np.abs(catalog.image @ image_EH - catalog.text @ text_DH).max() < 0.1
    monkeypatch.setattr(fit_module, "MAX_INITIAL_PRODUCTS", 100)
    sample_DH, _ = initial_projections(catalog, 3, np.random.default_rng(0))
    overlap = np.linalg.svd(text_DH.T @ sample_DH, compute_uv=False)
    assert overlap.min() > 0.99
    assert not np.array_equal(text_DH, sample_DH)
