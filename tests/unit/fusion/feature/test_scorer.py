from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import ArtifactError, ConfigError, ReleaseMismatch
from intarsia.fusion.feature.config import FeatureMethodName
from intarsia.fusion.feature.fit import fit_scorer
from intarsia.fusion.feature.scorer import FIT_S, SCORER_FILE, SCORES_GRAPH, VALIDATION_CURVE, FeatureScorer
from intarsia.fusion.protocol import ProductVectors
from intarsia.ids import SpaceId
from intarsia.records.query import QueryVector
from tests.unit.fusion.feature.vector_catalog import IMAGE_DIM, SMALL, TEXT_DIM, query, training_data, unit

ROOT = Path(__file__).resolve().parents[4]


def fit_small(kind: FeatureMethodName = "average") -> FeatureScorer:
    return fit_scorer(kind, training_data(), training_data(seed=6), replace(SMALL, num_steps=1), seed=1)


@pytest.fixture(scope="module")
def scorer() -> FeatureScorer:
    return fit_small()


def vectors_of(num: int, text_dim: int = TEXT_DIM, image_dim: int = IMAGE_DIM) -> ProductVectors:
    rng = np.random.default_rng(4)
    return ProductVectors(
        text_ND=unit(rng.normal(size=(num, text_dim))),
        image_NE=unit(rng.normal(size=(num, image_dim))) if image_dim else np.zeros((num, 0), np.float32),
        has_N2=np.tile([True, image_dim > 0], (num, 1)),
    )


def test_serving_imports_no_torch() -> None:
    code = "import intarsia.fusion.feature.feature_fuser, sys; print('torch' in sys.modules)"
    completed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert completed.stdout.strip() == "False"


def test_another_catalog_replaces_the_cached_tokens(scorer: FeatureScorer) -> None:
    query_vectors = query(text=unit(np.arange(1.0, TEXT_DIM + 1)))
    first, second = vectors_of(6), vectors_of(6)
    second = replace(second, text_ND=second.text_ND[::-1].copy(), image_NE=second.image_NE[::-1].copy())
    rows = np.arange(6, dtype=np.int64)
    forwards, backwards = scorer.score(query_vectors, first, rows), scorer.score(query_vectors, second, rows)
    assert np.allclose(forwards, backwards[::-1], atol=1e-5)
    assert scorer.score(query_vectors, first, rows).tobytes() == forwards.tobytes()


def test_a_catalog_larger_than_one_run_is_read_completely(scorer: FeatureScorer) -> None:
    query_vectors, many = query(text=unit(np.arange(1.0, TEXT_DIM + 1))), vectors_of(5000)
    rows = np.array([0, 4095, 4096, 4999])
    few = ProductVectors(text_ND=many.text_ND[rows], image_NE=many.image_NE[rows], has_N2=many.has_N2[rows])
    expected = scorer.score(query_vectors, few, np.arange(4, dtype=np.int64))
    assert np.allclose(scorer.score(query_vectors, many, rows), expected, atol=1e-5)


def test_a_catalog_without_images_is_fitted_and_scored_by_text() -> None:
    data = training_data()
    assert data.products is not None
    text_only = replace(
        data.products,
        image_NE=np.zeros((len(data.products.text_ND), 0), np.float32),
        has_N2=data.products.has_N2 & np.array([True, False]),
    )
    data = replace(data, products=text_only)
    scorer = fit_scorer("gated", data, data, replace(SMALL, num_steps=20), seed=1)
    curve = dict(scorer.metadata[VALIDATION_CURVE])
    assert max(curve.values()) > curve[0]
    candidates = data.candidates[0]
    assert np.isfinite(scorer.score(candidates.query_vectors, text_only, candidates.rows_C)).all()


def test_an_image_query_finds_the_product_of_that_image(scorer: FeatureScorer) -> None:
    products = vectors_of(30)
    own = scorer.score(query(image=products.image_NE[7]), products, np.arange(30, dtype=np.int64))
    assert own.argmax() == 7


def test_vectors_of_other_widths_are_refused(scorer: FeatureScorer) -> None:
    rows = np.arange(3, dtype=np.int64)
    with pytest.raises(ReleaseMismatch, match=r"query's text vector has 3 numbers, the products' have 24"):
        scorer.score(query(text=unit(np.ones(3))), vectors_of(3), rows)
    with pytest.raises(
        ReleaseMismatch, match=r"vectors of 24 and 9 numbers, feature fusion average was fitted on 24 and 16"
    ):
        scorer.score(query(text=unit(np.ones(TEXT_DIM))), vectors_of(3, image_dim=9), rows)


def test_a_query_of_another_space_is_refused(scorer: FeatureScorer) -> None:
    other = QueryVector(space_id=SpaceId("text-2"), values_D=unit(np.ones(TEXT_DIM)))
    with pytest.raises(
        ReleaseMismatch, match=r"text vector is of space text-2, feature fusion was fitted on text\. Fix: fit"
    ):
        scorer.score({"text": other}, vectors_of(3), np.arange(3, dtype=np.int64))
    data = training_data()
    candidates_of_two_spaces = [*data.candidates]
    candidates_of_two_spaces[4] = replace(candidates_of_two_spaces[4], query_vectors={"text": other})
    with pytest.raises(
        ReleaseMismatch, match=r"vectors are of spaces text and text-2, and feature fusion needs one\. Fix: leave"
    ):
        fit_scorer("average", replace(data, candidates=candidates_of_two_spaces), data, replace(SMALL, num_steps=1))


def test_only_the_adversarial_method_generates_images(scorer: FeatureScorer) -> None:
    texts = vectors_of(5).text_ND
    generated = fit_small("adversarial").generate_images(texts)
    assert generated.shape == (5, IMAGE_DIM)
    assert np.allclose(np.linalg.norm(generated, axis=1), 1.0, atol=1e-5)
    with pytest.raises(ConfigError, match="feature fusion average generates nothing; allowed: adversarial"):
        scorer.generate_images(texts)


def test_the_generator_learns_to_predict_images() -> None:
    data = training_data()
    assert data.products is not None
    has_colour_in_text = np.arange(len(data.products.text_ND)) % 2 == 1
    texts, images = data.products.text_ND[has_colour_in_text], data.products.image_NE[has_colour_in_text]

    def mean_cosine(num_steps: int) -> float:
        config = replace(SMALL, num_steps=num_steps, measure_every=100, own_weight=1.0)
        generated = fit_scorer("adversarial", data, data, config, seed=1).generate_images(texts)
        return float(np.vecdot(generated, images).mean())

    assert mean_cosine(100) > mean_cosine(1) + 0.3


def test_a_missing_or_damaged_file_is_refused(scorer: FeatureScorer, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"joint\.json does not exist. Fix: fit the feature fusion again"):
        FeatureScorer.open(tmp_path)
    scorer.save(tmp_path)
    (tmp_path / SCORES_GRAPH).write_bytes(b"half a graph")
    with pytest.raises(ArtifactError, match="holds no feature fusion"):
        FeatureScorer.open(tmp_path)
    (tmp_path / SCORES_GRAPH).unlink()
    with pytest.raises(ArtifactError, match=r"scores\.onnx does not exist"):
        FeatureScorer.open(tmp_path)
    (tmp_path / SCORER_FILE).write_text("[]", encoding="utf-8")
    with pytest.raises(ArtifactError, match="holds no feature fusion"):
        FeatureScorer.open(tmp_path)


def test_the_metadata_describe_the_fit(scorer: FeatureScorer, tmp_path: Path) -> None:
    scorer.save(tmp_path)
    saved = json.loads((tmp_path / SCORER_FILE).read_text(encoding="utf-8"))
    assert saved["kind"] == "average"
    assert FIT_S not in saved
    assert scorer.metadata[FIT_S] > 0
    assert (saved["text_dim"], saved["image_dim"]) == (TEXT_DIM, IMAGE_DIM)
    assert [step for step, _ in saved[VALIDATION_CURVE]] == [0, 1]
