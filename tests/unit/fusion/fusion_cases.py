"""Small training data of four retrievers and two vector spaces, and small settings of every fusion method."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from intarsia.fusion.feature.feature_fuser import FeatureConfig
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.registry import FUSION_METHODS, fit_fuser, parse_method_config
from intarsia.ids import ReleaseId, SpaceId
from intarsia.names import RETRIEVERS
from intarsia.records.candidates import Candidates
from intarsia.records.query import QueryVector

NUM_PRODUCTS, NUM_CANDIDATES, DIM = 60, 20, 8

SMALL: dict[str, dict[str, Any]] = {
    "weighted": {"num_steps": 3},
    "gate": {"num_fits": 3, "num_folds": 3, "common": {"num_steps": 3}},
    "boosting": {"num_rounds": 12, "min_data_in_leaf": 5},
    "bagging": {"num_bags": 3, "base": {"kind": "boosting", "num_rounds": 8, "min_data_in_leaf": 5}},
    "stacking": {
        "num_folds": 3,
        "members": [{"kind": "rrf"}, {"kind": "boosting", "num_rounds": 8, "min_data_in_leaf": 5}],
    },
}
SMALL_FEATURES = {
    "num_folds": 0,
    "fused_by": {"kind": "weighted", "num_steps": 3},
    "joint": {
        "width": 8,
        "num_heads": 2,
        "num_steps": 4,
        "queries_per_step": 8,
        "candidates_per_query": 8,
        "measure_every": 4,
    },
}


@cache
def training_data(split: str, num_queries: int = 24) -> FusionTrainingData:
    """Judged queries of one split: grades follow a weighted sum of all retrievers' scores; every third has an image."""
    rng = np.random.default_rng([len(split), num_queries])
    queries = [query(rng, with_image=number % 3 == 0) for number in range(num_queries)]
    return FusionTrainingData(
        query_ids=tuple(f"{split}-{number}" for number in range(num_queries)),
        candidates=[candidates for candidates, _ in queries],
        grades=[grades for _, grades in queries],
        judged=[grades for _, grades in queries],
        products=products(),
    )


def query(rng: np.random.Generator, *, with_image: bool) -> tuple[Candidates, np.ndarray]:
    """The candidates of one query, and their grades."""
    known_CR = rng.normal(size=(NUM_CANDIDATES, len(RETRIEVERS)))
    scores_CR = (known_CR * [4.0, 0.1, 0.1, 0.1] + [10.0, 0.3, 0.3, 0.1]).astype(np.float32)
    if not with_image:
        scores_CR[:, 2] = np.nan
    scores_CR[rng.random(NUM_CANDIDATES) < 0.2, 3] = np.nan  # products without an image
    order_CR = np.argsort(
        np.argsort(-np.nan_to_num(scores_CR, nan=-np.inf), axis=0, kind="stable"), axis=0, kind="stable"
    )
    ranks_CR = np.where(np.isnan(scores_CR) | (order_CR >= 15), 0, order_CR + 1).astype(np.int32)
    truth_C = known_CR @ [1.0, 1.5, 1.0 if with_image else 0.0, 1.0]
    grades_C = np.select([truth_C >= np.sort(truth_C)[-2], truth_C >= np.sort(truth_C)[-5]], [3.0, 1.0], 0.0)
    rows_C = np.sort(rng.choice(NUM_PRODUCTS, NUM_CANDIDATES, replace=False)).astype(np.int64)
    kept_C = (ranks_CR > 0).any(axis=1)
    vectors = {"text": _vector(rng, "text")} | ({"image": _vector(rng, "image")} if with_image else {})
    candidates = Candidates(
        release_id=ReleaseId("r-1"),
        rows_C=rows_C[kept_C],
        retrievers=RETRIEVERS,
        scores_CR=scores_CR[kept_C],
        ranks_CR=ranks_CR[kept_C],
        views_C=np.zeros(int(kept_C.sum()), np.int32),
        query_vectors=vectors,
    )
    return candidates, grades_C[kept_C]


@cache
def products() -> ProductVectors:
    """Vectors of all products; every fifth has no image."""
    rng = np.random.default_rng(5)
    has_N2 = np.ones((NUM_PRODUCTS, 2), np.bool_)
    has_N2[::5, 1] = False
    text_ND, image_NE = (_unit(rng.normal(size=(NUM_PRODUCTS, DIM))) for _ in range(2))
    image_NE[::5] = 0.0
    return ProductVectors(text_ND=text_ND, image_NE=image_NE, has_N2=has_N2)


def small_config(kind: str) -> MethodConfig:
    """Settings with which the method is fitted in a fraction of a second."""
    values = SMALL_FEATURES if FUSION_METHODS[kind].config is FeatureConfig else SMALL.get(kind, {})
    return parse_method_config({"kind": kind, **values})


@cache
def fitted(kind: str) -> Fuser:
    """A fuser of that method."""
    return fit_fuser(small_config(kind), training_data("train"), training_data("validation"), seed=7)


def only_retrievers(candidates: Candidates, names: tuple[str, ...]) -> Candidates:
    """The candidates as if only these retrievers had returned results."""
    at = [candidates.retrievers.index(name) for name in names]
    fewer = replace(
        candidates,
        retrievers=names,
        scores_CR=np.ascontiguousarray(candidates.scores_CR[:, at]),
        ranks_CR=np.ascontiguousarray(candidates.ranks_CR[:, at]),
    )
    return fewer.only((fewer.ranks_CR > 0).any(axis=1))


def _vector(rng: np.random.Generator, space: str) -> QueryVector:
    return QueryVector(space_id=SpaceId(space), values_D=_unit(rng.normal(size=(1, DIM)))[0])


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    return (vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)).astype(np.float32)
