"""Similarity of candidates to substitutes for the query vector: pseudo-relevance feedback and learned word vectors.

A text query has no image vector. Two substitutes are compared with the images of the candidates: the images of the
best candidates, and those of the products whose titles contain the words of the query.

Letters: N products that are read, W words that are learned, D width, C candidates, V vectors (views) of one product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from intarsia.features.ragged import list_numbers
from intarsia.maths.arrays import Float32s, Floats, Ints
from intarsia.maths.unit_vectors import direction_of
from intarsia.records.candidates import Candidates, best_first
from intarsia.records.feature_matrix import Ragged

NUM_TRUSTED = 8
"""Number of best fused candidates that are assumed to be relevant."""

MAX_PRODUCTS = 20_000
"""Products that word vectors are learned from, evenly spread over the catalog; more improve little and take longer."""

MIN_PRODUCTS = 2
"""Products whose title must contain a word; a word of a single product would only memorise that product."""

_RIDGE = 5.0  # acts like this many products without the word; 1 and 20 rank alike
_STEPS = 10  # of conjugate gradients; 4 rank a little worse


class FeedbackVectors(Protocol):
    """The stored vectors of one space; every `VectorIndex` is one."""

    def vectors_of(self, row: int) -> Float32s:
        """float32 [V, D]: the vectors of a row in view order; [0, D] if it has none."""
        ...

    def score_rows(self, query_D: Float32s, rows_C: Ints) -> tuple[Float32s, NDArray[np.int32]]:
        """(cosine, best view) of rows, with the same bits in any batch; (NaN, -1) for a row without vectors."""
        ...


def feedback_similarity(candidates: Candidates, vectors: FeedbackVectors) -> Floats:
    """Cosine of each candidate to the unit mean of the `NUM_TRUSTED` best fused candidates, float64 [C].

    A trusted candidate is compared with the mean of the *other* trusted ones. NaN without a vector or before fusion.
    """
    similarity_C = np.full(len(candidates.rows_C), np.nan)
    if candidates.fused_C is None:
        return similarity_C
    trusted = best_first(candidates.fused_C, candidates.rows_C)[:NUM_TRUSTED]
    views = {int(c): vectors.vectors_of(int(candidates.rows_C[c])) for c in trusted}
    means = {
        c: views_VD.sum(axis=0, dtype=np.float64) / len(views_VD) for c, views_VD in views.items() if len(views_VD)
    }
    if not means:
        return similarity_C
    total_D = np.sum(list(means.values()), axis=0)
    if (mean_D := direction_of(total_D)) is not None:
        similarity_C[:] = vectors.score_rows(mean_D, candidates.rows_C)[0]
    for c, own_D in means.items():
        others_D = direction_of(total_D - own_D) if len(means) > 1 else None
        similarity_C[c] = np.nan if others_D is None else np.vecdot(views[c], others_D).max()
    return similarity_C


@dataclass(frozen=True, slots=True, kw_only=True)
class WordVectors:
    """The vector that each title word adds to its product, learned from the catalog by ridge regression.

    So a text query for "red" can be compared with images, in any language and without an encoder trained on text and
    images. No judgments and no events are used.

    Attributes:
        position_V: int32, row of each catalog word in `added_WD`; -1 for a word that was not learned.
        added_WD: float32, what a word adds to the mean vector.
        mean_D: float32, mean vector of the products that were read.

    Source: ridge regression, Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634; solved for all D at once by
    conjugate gradients with Jacobi's preconditioner, stopped early, which also regularises.
    """

    position_V: NDArray[np.int32]
    added_WD: Float32s
    mean_D: Float32s

    @classmethod
    def learn(cls, titles: Ragged, num_words: int, vectors: FeedbackVectors) -> WordVectors | None:
        """Learn the words of the titles; None if no product has both vectors and a word of `MIN_PRODUCTS` titles.

        Args:
            titles: for each product the codes of its title's words.
            num_words: number of words of the catalog.
            vectors: vectors of the same products; several vectors of a product are averaged.
        """
        rows = np.arange(0, len(titles), -(-len(titles) // MAX_PRODUCTS) if len(titles) else 1)
        means = {int(row): views_VD.mean(axis=0) for row in rows if len(views_VD := vectors.vectors_of(int(row)))}
        if not means:
            return None
        targets_ND = np.stack(list(means.values())).astype(np.float32)
        titles = titles.take(np.array(list(means), np.int64))
        words_NV = csr_matrix(
            (np.ones(len(titles.values), np.float32), (list_numbers(titles), titles.values)),
            shape=(len(titles), num_words),
        )
        words_NV.data[:] = 1.0  # a repeated word counts once
        learned_V = np.bincount(words_NV.indices, minlength=num_words) >= MIN_PRODUCTS
        if not learned_V.any():
            return None
        mean_D = targets_ND.mean(axis=0)
        position_V = np.where(learned_V, np.cumsum(learned_V) - 1, -1).astype(np.int32)
        words_NW = csr_matrix(words_NV[:, np.flatnonzero(learned_V)])
        return cls(position_V=position_V, added_WD=_ridge_regression(words_NW, targets_ND - mean_D), mean_D=mean_D)

    def similarity(self, codes_W: NDArray[np.int32], rows_C: Ints, vectors: FeedbackVectors) -> Floats:
        """Cosine of each candidate to the predicted vector of the words, minus that of the mean product: float64 [C].

        The best view counts. NaN for a candidate without vectors, or if no word was learned.
        """
        positions = self.position_V[codes_W[codes_W >= 0]]
        predicted_D = direction_of(self.added_WD[positions[positions >= 0]].sum(axis=0, dtype=np.float64))
        if predicted_D is None:
            return np.full(len(rows_C), np.nan)
        cosines_C = vectors.score_rows(predicted_D, rows_C)[0].astype(np.float64)
        return cosines_C - float(np.vecdot(self.mean_D, predicted_D))


def _ridge_regression(words_NW: csr_matrix, targets_ND: Float32s) -> Float32s:
    """The X [W, D] that minimises |words X - targets|^2 + ridge |X|^2, approximately.

    It uses sparse products only, so it has the same bits with any number of threads.
    """
    products_WN = csr_matrix(words_NW.T)
    solution_WD = np.zeros((words_NW.shape[1], targets_ND.shape[1]), np.float32)
    counts_W = np.bincount(words_NW.indices, minlength=words_NW.shape[1])
    scale_W1 = (1.0 / (counts_W + _RIDGE)).astype(np.float32)[:, None]
    residual_WD = np.asarray(products_WN @ targets_ND, np.float32)
    step_WD = scale_W1 * residual_WD
    length_D = (residual_WD * step_WD).sum(axis=0)
    for _ in range(_STEPS):
        change_WD = products_WN @ (words_NW @ step_WD) + np.float32(_RIDGE) * step_WD
        share_D = _divided(length_D, (step_WD * change_WD).sum(axis=0))
        solution_WD += share_D * step_WD
        residual_WD = residual_WD - share_D * change_WD
        scaled_WD = scale_W1 * residual_WD
        next_D = (residual_WD * scaled_WD).sum(axis=0)
        step_WD = scaled_WD + _divided(next_D, length_D) * step_WD
        length_D = next_D
    return solution_WD


def _divided(part_D: Float32s, whole_D: Float32s) -> Float32s:
    """Part divided by whole; 0 where the whole is 0."""
    return np.divide(part_D, whole_D, out=np.zeros_like(part_D), where=whole_D > 0)
