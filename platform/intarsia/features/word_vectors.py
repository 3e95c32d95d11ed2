"""What a word looks like and reads like in this catalog: the vector that a title word adds to its product, by ridge regression.

Stored vectors of any space, pictures too, are explained by the words of the titles they belong to; the words of a query then foretell the
vector of the product it asks for. So a shop's own titles teach which picture "red" is, without an encoder that was trained on both, in any
language. Learned once per opened release from the catalog alone: no judgment, no event.

Letters: N products that are read, W words that are learned, D width, C candidates.

Source: ridge regression, Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634; solved for all D at once by conjugate gradients with
Jacobi's preconditioner, stopped early, which shrinks too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from intarsia.features.pseudo_feedback import FeedbackVectors
from intarsia.features.ragged import rows_of
from intarsia.maths.unit_vectors import direction_of
from intarsia.records.feature_matrix import Ragged

MAX_PRODUCTS = 20_000
"""Products that are read, evenly spread over the catalog; more teach little, and opening a release would wait for them."""

MIN_PRODUCTS = 2
"""Products that must have a word in their title; a word of one product would only learn that product by heart."""

_RIDGE = 5.0  # products without the word that each word is taken to have seen; 1 and 20 rank alike
_STEPS = 10  # of conjugate gradients; 4 rank a little worse


@dataclass(frozen=True, slots=True, kw_only=True)
class WordVectors:
    """The learned words of one space.

    Attributes:
        place_V: int32, the row of each catalog word in `added_WD`; -1: not learned.
        added_WD: float32, what a word adds to the mean vector.
        mean_D: float32, the mean vector of the products that were read.
    """

    place_V: NDArray[np.int32]
    added_WD: NDArray[np.float32]
    mean_D: NDArray[np.float32]

    @classmethod
    def learn(cls, titles: Ragged, num_words: int, vectors: FeedbackVectors) -> WordVectors | None:
        """Learn the words of the titles; None when no product, or no word, can teach.

        Args:
            titles: per product the codes of its title's words.
            num_words: V, of the whole catalog.
            vectors: of the same products; one without vectors teaches nothing, one with several by their mean.
        """
        rows = np.arange(0, len(titles), -(-len(titles) // MAX_PRODUCTS) if len(titles) else 1)
        means = {int(row): views_VD.mean(axis=0) for row in rows if len(views_VD := vectors.vectors_of(int(row)))}
        if not means:
            return None
        targets_ND = np.stack(list(means.values())).astype(np.float32)
        titles = titles.take(np.array(list(means), np.int64))
        words_NV = csr_matrix(
            (np.ones(len(titles.values), np.float32), (rows_of(titles), titles.values)), shape=(len(titles), num_words)
        )
        words_NV.data[:] = 1.0  # a word that is said twice counts once
        learned_V = np.bincount(words_NV.indices, minlength=num_words) >= MIN_PRODUCTS
        if not learned_V.any():
            return None
        mean_D = targets_ND.mean(axis=0)
        place_V = np.where(learned_V, np.cumsum(learned_V) - 1, -1).astype(np.int32)
        words_NW = csr_matrix(words_NV[:, np.flatnonzero(learned_V)])
        return cls(place_V=place_V, added_WD=_ridge(words_NW, targets_ND - mean_D), mean_D=mean_D)

    def likeness(
        self, codes_W: NDArray[np.int32], rows_C: NDArray[np.int64], vectors: FeedbackVectors
    ) -> NDArray[np.float64]:
        """How much nearer each candidate is than the mean product to the direction that the words add: float64 [C].

        A difference of cosines, of the candidate's best view; NaN for a candidate without vectors, or when no word was learned.
        """
        places = self.place_V[codes_W[codes_W >= 0]]
        asked_D = direction_of(self.added_WD[places[places >= 0]].sum(axis=0, dtype=np.float64))
        if asked_D is None:
            return np.full(len(rows_C), np.nan)
        return vectors.score_rows(asked_D, rows_C)[0].astype(np.float64) - float(np.vecdot(self.mean_D, asked_D))


def learn_words(titles: Ragged, num_words: int, vectors: FeedbackVectors | None) -> WordVectors | None:
    """`WordVectors.learn`, or None for a space that a catalog does not have."""
    return None if vectors is None else WordVectors.learn(titles, num_words, vectors)


def _ridge(words_NW: csr_matrix, targets_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """The X [W, D] that makes |words X - targets|^2 + ridge |X|^2 small. Sparse products alone: equal bits on any number of threads."""
    products_WN = csr_matrix(words_NW.T)
    found_WD = np.zeros((words_NW.shape[1], targets_ND.shape[1]), np.float32)
    counts_W = np.bincount(words_NW.indices, minlength=words_NW.shape[1])
    scale_W1 = (1.0 / (counts_W + _RIDGE)).astype(np.float32)[:, None]
    left_WD = np.asarray(products_WN @ targets_ND, np.float32)
    step_WD = scale_W1 * left_WD
    length_D = (left_WD * step_WD).sum(axis=0)
    for _ in range(_STEPS):
        change_WD = products_WN @ (words_NW @ step_WD) + np.float32(_RIDGE) * step_WD
        share_D = _divided(length_D, (step_WD * change_WD).sum(axis=0))
        found_WD += share_D * step_WD
        left_WD = left_WD - share_D * change_WD
        scaled_WD = scale_W1 * left_WD
        next_D = (left_WD * scaled_WD).sum(axis=0)
        step_WD = scaled_WD + _divided(next_D, length_D) * step_WD
        length_D = next_D
    return found_WD


def _divided(part_D: NDArray[np.float32], whole_D: NDArray[np.float32]) -> NDArray[np.float32]:
    """Part by whole; 0 where there is nothing left to divide."""
    return np.divide(part_D, whole_D, out=np.zeros_like(part_D), where=whole_D > 0)
