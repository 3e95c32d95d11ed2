"""Properties of every feature fusion method."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from intarsia.fusion.feature.config import FEATURE_METHODS, FeatureMethodName
from intarsia.fusion.feature.export import export_scorer
from intarsia.fusion.feature.fit import fit_scorer
from intarsia.fusion.feature.modules import FEATURE_MODULES, FeatureModule, ModalityTensors, VectorWidths
from intarsia.fusion.feature.scorer import VALIDATION_CURVE, FeatureScorer
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from tests.unit.fusion.feature.vector_catalog import IMAGE_DIM, SMALL, TEXT_DIM, query, training_data, unit

DIMS = VectorWidths(TEXT_DIM, IMAGE_DIM)
NUM = 40
ROWS = np.arange(NUM, dtype=np.int64)
MASKS = [(True, True), (True, False), (False, True)]

every_method = pytest.mark.parametrize("kind", FEATURE_METHODS)


def perturbed_module(kind: FeatureMethodName, seed: int = 3) -> FeatureModule:
    """A module without zero or identity weights, as after training."""
    torch.manual_seed(seed)
    module = FEATURE_MODULES[kind](DIMS, SMALL).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def make_vectors(
    seed: int, num: int, mask: tuple[bool, bool] | None = None, fill: float | None = None
) -> ModalityTensors:
    """Unit vectors, some without text or image (or all of one mask); `fill` replaces missing vectors."""
    rng = np.random.default_rng(seed)
    has = np.array([MASKS[i % 3] for i in range(num)]) if mask is None else np.tile(np.array(mask), (num, 1))
    parts = []
    for column, dim in enumerate(DIMS):
        part = unit(rng.normal(size=(num, dim)))
        if fill is not None:
            part[~has[:, column]] = fill
        parts.append(torch.from_numpy(part))
    return ModalityTensors(parts[0], parts[1], torch.from_numpy(has))


def compare(module: FeatureModule, queries: ModalityTensors, products: ModalityTensors) -> np.ndarray:
    """[G, C]: every query against all products."""
    with torch.inference_mode():
        query_tensors = module.read_queries(queries)
        product_tokens = module.read_products(products)
        num = len(queries.has)
        product_tokens = type(product_tokens)(
            product_tokens.values.expand(num, *product_tokens.values.shape),
            product_tokens.mask.expand(num, *product_tokens.mask.shape),
        )
        return module.compare(query_tensors, product_tokens).numpy()


@cache
def fitted(kind: FeatureMethodName) -> FeatureScorer:
    return fit_scorer(kind, training_data(seed=5), training_data(seed=6, first=100), SMALL, seed=2)


def test_the_table_has_a_module_for_every_method() -> None:
    assert set(FEATURE_MODULES) == set(FEATURE_METHODS) == set(get_args(FeatureMethodName))


@every_method
@pytest.mark.parametrize("mask", MASKS)
def test_a_missing_vector_has_no_effect_whatever_its_numbers(kind: FeatureMethodName, mask: tuple[bool, bool]) -> None:
    module = perturbed_module(kind)
    as_zero = compare(module, make_vectors(1, 3, mask, fill=0.0), make_vectors(2, NUM, fill=0.0))
    for fill in (np.nan, 7.0):
        as_garbage = compare(module, make_vectors(1, 3, mask, fill=fill), make_vectors(2, NUM, fill=fill))
        assert as_garbage.tobytes() == as_zero.tobytes()
    assert np.isfinite(as_zero).all()


@every_method
def test_an_existing_vector_has_an_effect(kind: FeatureMethodName) -> None:
    module = perturbed_module(kind)
    both = compare(module, make_vectors(1, 3, (True, True)), make_vectors(2, NUM, (True, True)))
    for mask in MASKS[1:]:
        assert np.abs(compare(module, make_vectors(1, 3, (True, True)), make_vectors(2, NUM, mask)) - both).max() > 1e-3
        assert np.abs(compare(module, make_vectors(1, 3, mask), make_vectors(2, NUM, (True, True))) - both).max() > 1e-3


@every_method
def test_a_score_depends_on_its_own_query_and_product_only(kind: FeatureMethodName) -> None:
    module = perturbed_module(kind)
    queries, products = make_vectors(1, 3), make_vectors(2, NUM)
    together = compare(module, queries, products)
    for g in range(3):
        for c in (0, 1, 2, NUM - 1):
            pair = (
                ModalityTensors(*(part[g : g + 1] for part in queries)),
                ModalityTensors(*(part[c : c + 1] for part in products)),
            )
            assert compare(module, *pair)[0, 0] == pytest.approx(together[g, c], abs=1e-5)


@every_method
@pytest.mark.parametrize("mask", MASKS)
def test_the_exported_graphs_agree_with_torch(kind: FeatureMethodName, mask: tuple[bool, bool]) -> None:
    module, query_side, product_side = perturbed_module(kind), make_vectors(1, 1, mask), make_vectors(2, NUM)
    scorer = export_scorer(kind, module, DIMS, {})
    vectors = dict(zip(("text", "image"), (query_side.text[0].numpy(), query_side.image[0].numpy()), strict=True))
    query_vectors = query(**{name: vectors[name] for name, has in zip(("text", "image"), mask, strict=True) if has})
    catalog = ProductVectors(
        text_ND=product_side.text.numpy(), image_NE=product_side.image.numpy(), has_N2=product_side.has.numpy()
    )
    expected = compare(module, query_side, product_side)[0]
    assert np.abs(scorer.score(query_vectors, catalog, ROWS) - expected).max() <= 1e-5
    shuffled = ROWS[::-3].copy()
    assert np.abs(scorer.score(query_vectors, catalog, shuffled) - expected[shuffled]).max() <= 1e-5


@every_method
def test_training_raises_ndcg_on_queries_that_need_images(kind: FeatureMethodName) -> None:
    curve = dict(fitted(kind).metadata[VALIDATION_CURVE])
    assert max(curve.values()) > curve[0] + 0.15


@every_method
def test_without_images_precision_is_lower_but_above_chance(kind: FeatureMethodName) -> None:
    data = training_data(seed=6, first=100)
    assert data.products is not None
    without_images = replace(data.products, has_N2=data.products.has_N2 & np.array([True, False]))
    catalogs = [data.products, without_images]
    means = [np.mean([_precision_at_5(fitted(kind), data, products, n) for n in range(24)]) for products in catalogs]
    assert means[1] < means[0]
    assert means[1] > 0.1  # 5 in 100 candidates are relevant


@every_method
def test_equal_seeds_give_equal_bits_also_after_saving(kind: FeatureMethodName, tmp_path: Path) -> None:
    data, short = training_data(seed=7), replace(SMALL, num_steps=4, measure_every=2)
    scorer, refitted = (
        fit_scorer(kind, training_data(seed=5), training_data(seed=6, first=100), short, seed=2) for _ in range(2)
    )
    scorer.save(tmp_path / "joint")
    candidates = data.candidates[0]
    assert data.products is not None
    scores = scorer.score(candidates.query_vectors, data.products, candidates.rows_C)
    refitted.save(tmp_path / "again")
    for path in (tmp_path / "joint").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    for other in (refitted, FeatureScorer.open(tmp_path / "joint"), pickle.loads(pickle.dumps(scorer))):
        assert other.kind == kind
        assert other.score(candidates.query_vectors, data.products, candidates.rows_C).tobytes() == scores.tobytes()


@every_method
def test_scores_are_finite_without_any_vector(kind: FeatureMethodName) -> None:
    scorer, data = fitted(kind), training_data(seed=7)
    assert data.products is not None
    has_N2 = data.products.has_N2.copy()
    has_N2[:2] = False
    products = replace(data.products, has_N2=has_N2)
    vectors = data.candidates[0].query_vectors
    for query_vectors in (vectors, {}):
        scores = scorer.score(query_vectors, products, np.arange(5, dtype=np.int64))
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert scores[0] == scores[1]
    assert scorer.score(vectors, products, np.empty(0, np.int64)).shape == (0,)


def _precision_at_5(scorer: FeatureScorer, data: FusionTrainingData, products: ProductVectors, number: int) -> float:
    """Precision of the first five candidates."""
    candidates, grades = data.candidates[number], data.grades[number]
    top = np.argsort(-scorer.score(candidates.query_vectors, products, candidates.rows_C), kind="stable")[:5]
    return float((grades[top] > 0).mean())
