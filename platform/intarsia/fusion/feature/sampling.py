"""What one step of a fit sees: judged lists of some queries, and products that must be found by a part of their own.

Letters: Q queries in all, G of them in a step, L candidates of each, P products in a step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intarsia.fusion.feature.arrays import Arrays
from intarsia.fusion.protocol import FusionTrainingData

_SAME = 0.95  # cosine of two texts from which their products count as one: neither is a wrong answer for the other
_ASKED_BY = (0.7, 0.15, 0.15)  # products' own text, own picture, both: as shops are asked


class JudgedStep(NamedTuple):
    """Queries at `queries_G`; their candidates' rows [G, L], gains [G, L], and which of the places are filled [G, L]."""

    queries_G: NDArray[np.int64]
    rows_GL: NDArray[np.int64]
    gains_GL: NDArray[np.float32]
    filled_GL: NDArray[np.bool_]


class ProductStep(NamedTuple):
    """Products as queries and as what they must find, both with parts hidden; `candidates_PP` marks the own one and the wrong answers."""

    rows_P: NDArray[np.int64]
    asked_has_P2: NDArray[np.bool_]
    found_has_P2: NDArray[np.bool_]
    candidates_PP: NDArray[np.bool_]


class JudgedLists:
    """Queries with a relevant candidate, in an order that is new each time all were shown."""

    def __init__(self, training_data: FusionTrainingData, rng: np.random.Generator) -> None:
        self._training_data, self._rng = training_data, rng
        self._useful = np.array([i for i, grades in enumerate(training_data.grades) if (grades > 0).any()], np.int64)
        self._coming = np.empty(0, np.int64)

    def draw(self, num_queries: int, length: int) -> JudgedStep:
        """The next queries, each with some of its relevant candidates (half of the list at most) and some of the others."""
        while len(self._coming) < num_queries:
            self._coming = np.concatenate([self._coming, self._rng.permutation(self._useful)])
        queries_G, self._coming = self._coming[:num_queries], self._coming[num_queries:]
        rows_GL = np.zeros((num_queries, length), np.int64)
        gains_GL = np.zeros((num_queries, length), np.float32)
        filled_GL = np.zeros((num_queries, length), np.bool_)
        for g, query in enumerate(queries_G):
            grades_C = self._training_data.grades[query]
            chosen = self._choose(grades_C > 0, length)
            rows_GL[g, : len(chosen)] = self._training_data.candidates[query].rows_C[chosen]
            gains_GL[g, : len(chosen)] = np.exp2(grades_C[chosen]) - 1.0
            filled_GL[g, : len(chosen)] = True
        return JudgedStep(queries_G, rows_GL, gains_GL, filled_GL)

    def _choose(self, relevant_C: NDArray[np.bool_], length: int) -> NDArray[np.int64]:
        relevant = self._rng.permutation(np.flatnonzero(relevant_C))[: length // 2]
        others = self._rng.permutation(np.flatnonzero(~relevant_C))[: length - len(relevant)]
        return np.concatenate([relevant, others])


class OwnProducts:
    """Products that have something to be found by."""

    def __init__(self, products: Arrays, rng: np.random.Generator) -> None:
        self._products, self._rng = products, rng
        self._useful = np.flatnonzero(products.has.any(axis=1))

    def draw(self, num_products: int, hidden_share: float) -> ProductStep:
        """Some products; what asked is hidden from half of the products that have another part to be known by."""
        num = min(num_products, len(self._useful))
        rows_P = self._rng.choice(self._useful, num, replace=False)
        has_P2 = self._products.has[rows_P]
        asked_by = np.array([[True, False], [False, True], [True, True]])[self._rng.choice(3, num, p=_ASKED_BY)]
        asked_has_P2 = keep_one(has_P2 & asked_by, has_P2)
        told_apart = asked_has_P2 & (self._rng.random((num, 1)) < 0.5)
        found_has_P2 = hide(keep_one(has_P2 & ~told_apart, has_P2), hidden_share, self._rng)
        texts = np.where(has_P2[:, :1], self._products.text[rows_P], 0.0)
        different_PP = texts @ texts.T < _SAME
        return ProductStep(rows_P, asked_has_P2, found_has_P2, different_PP | np.eye(num, dtype=bool))


def hide(has: NDArray[np.bool_], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The mask with that share of its flags down, where another flag stays up: bool [..., 2]."""
    return keep_one(has & (rng.random(has.shape) >= share), has)


def keep_one(wanted: NDArray[np.bool_], has: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`wanted`, or all that there is where nothing would be left."""
    return np.where(wanted.any(axis=-1, keepdims=True), wanted, has)
