"""What every kind of feature fusion promises."""

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

every_kind = pytest.mark.parametrize("kind", FEATURE_METHODS)


def stirred(kind: FeatureMethodName, seed: int = 3) -> FeatureModule:
    """A module none of whose parts is still zero or the identity, as if it had learned."""
    torch.manual_seed(seed)
    module = FEATURE_MODULES[kind](DIMS, SMALL).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def side(seed: int, num: int, mask: tuple[bool, bool] | None = None, fill: float | None = None) -> ModalityTensors:
    """Unit vectors, some without text or picture (or all of one mask); `fill` stands where nothing is."""
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
        asked = module.read_queries(queries)
        found = module.read_products(products)
        num = len(queries.has)
        found = type(found)(found.values.expand(num, *found.values.shape), found.mask.expand(num, *found.mask.shape))
        return module.compare(asked, found).numpy()


@cache
def fitted(kind: FeatureMethodName) -> FeatureScorer:
    return fit_scorer(kind, training_data(seed=5), training_data(seed=6, first=100), SMALL, seed=2)


def test_the_table_holds_every_kind_that_has_a_name() -> None:
    assert set(FEATURE_MODULES) == set(FEATURE_METHODS) == set(get_args(FeatureMethodName))


@every_kind
@pytest.mark.parametrize("mask", MASKS)
def test_what_is_missing_has_no_say_whatever_its_numbers_are(kind: FeatureMethodName, mask: tuple[bool, bool]) -> None:
    module = stirred(kind)
    as_zero = compare(module, side(1, 3, mask, fill=0.0), side(2, NUM, fill=0.0))
    for fill in (np.nan, 7.0):
        as_garbage = compare(module, side(1, 3, mask, fill=fill), side(2, NUM, fill=fill))
        assert as_garbage.tobytes() == as_zero.tobytes()
    assert np.isfinite(as_zero).all()


@every_kind
def test_what_is_there_has_a_say(kind: FeatureMethodName) -> None:
    module = stirred(kind)
    both = compare(module, side(1, 3, (True, True)), side(2, NUM, (True, True)))
    for mask in MASKS[1:]:
        assert np.abs(compare(module, side(1, 3, (True, True)), side(2, NUM, mask)) - both).max() > 1e-3
        assert np.abs(compare(module, side(1, 3, mask), side(2, NUM, (True, True))) - both).max() > 1e-3


@every_kind
def test_a_score_is_of_its_own_query_and_product_alone(kind: FeatureMethodName) -> None:
    module = stirred(kind)
    queries, products = side(1, 3), side(2, NUM)
    together = compare(module, queries, products)
    for g in range(3):
        for c in (0, 1, 2, NUM - 1):
            one = (
                ModalityTensors(*(part[g : g + 1] for part in queries)),
                ModalityTensors(*(part[c : c + 1] for part in products)),
            )
            assert compare(module, *one)[0, 0] == pytest.approx(together[g, c], abs=1e-5)


@every_kind
@pytest.mark.parametrize("mask", MASKS)
def test_the_exported_graphs_say_what_torch_says(kind: FeatureMethodName, mask: tuple[bool, bool]) -> None:
    module, asked, products = stirred(kind), side(1, 1, mask), side(2, NUM)
    scorer = export_scorer(kind, module, DIMS, {})
    vectors = dict(zip(("text", "image"), (asked.text[0].numpy(), asked.image[0].numpy()), strict=True))
    given = query(**{name: vectors[name] for name, there in zip(("text", "image"), mask, strict=True) if there})
    found = ProductVectors(text_ND=products.text.numpy(), image_NE=products.image.numpy(), has_N2=products.has.numpy())
    expected = compare(module, asked, products)[0]
    assert np.abs(scorer.score(given, found, ROWS) - expected).max() <= 1e-5
    shuffled = ROWS[::-3].copy()
    assert np.abs(scorer.score(given, found, shuffled) - expected[shuffled]).max() <= 1e-5


@every_kind
def test_learning_finds_by_images_what_no_text_says(kind: FeatureMethodName) -> None:
    curve = dict(fitted(kind).metadata[VALIDATION_CURVE])
    assert max(curve.values()) > curve[0] + 0.15


@every_kind
def test_without_images_it_is_worse_and_still_orders(kind: FeatureMethodName) -> None:
    taught = training_data(seed=6, first=100)
    assert taught.products is not None
    blind = replace(taught.products, has_N2=taught.products.has_N2 & np.array([True, False]))
    seen = [taught.products, blind]
    means = [np.mean([_relevant_on_top(fitted(kind), taught, products, n) for n in range(24)]) for products in seen]
    assert means[1] < means[0]
    assert means[1] > 0.1  # relevant are 5 in 100


@every_kind
def test_equal_seeds_give_equal_bits_and_saving_keeps_them(kind: FeatureMethodName, tmp_path: Path) -> None:
    taught, short = training_data(seed=7), replace(SMALL, num_steps=4, measure_every=2)
    scorer, again = (
        fit_scorer(kind, training_data(seed=5), training_data(seed=6, first=100), short, seed=2) for _ in range(2)
    )
    scorer.save(tmp_path / "joint")
    one = taught.candidates[0]
    assert taught.products is not None
    scores = scorer.score(one.query_vectors, taught.products, one.rows_C)
    again.save(tmp_path / "again")
    for path in (tmp_path / "joint").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    for other in (again, FeatureScorer.open(tmp_path / "joint"), pickle.loads(pickle.dumps(scorer))):
        assert other.kind == kind
        assert other.score(one.query_vectors, taught.products, one.rows_C).tobytes() == scores.tobytes()


@every_kind
def test_nothing_known_of_query_or_product_still_gives_finite_scores(kind: FeatureMethodName) -> None:
    scorer, taught = fitted(kind), training_data(seed=7)
    assert taught.products is not None
    has_N2 = taught.products.has_N2.copy()
    has_N2[:2] = False
    products = replace(taught.products, has_N2=has_N2)
    vectors = taught.candidates[0].query_vectors
    for given in (vectors, {}):
        scores = scorer.score(given, products, np.arange(5, dtype=np.int64))
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert scores[0] == scores[1]
    assert scorer.score(vectors, products, np.empty(0, np.int64)).shape == (0,)


def _relevant_on_top(scorer: FeatureScorer, taught: FusionTrainingData, products: ProductVectors, number: int) -> float:
    """Precision of the first five."""
    one, grades = taught.candidates[number], taught.grades[number]
    top = np.argsort(-scorer.score(one.query_vectors, products, one.rows_C), kind="stable")[:5]
    return float((grades[top] > 0).mean())
