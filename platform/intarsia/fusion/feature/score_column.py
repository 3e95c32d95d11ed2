"""What feature fusion says of candidates as one more retriever's column, `joint`, which score fusion weighs beside bm25, text and image.

It brings no candidate of its own: it ranks those the retrievers brought. Letters: C candidates, R retrievers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from intarsia.fusion.feature.config import MODALITIES
from intarsia.fusion.feature.scorer import JointScorer
from intarsia.fusion.protocol import ProductVectors
from intarsia.records.candidates import Candidates, best_first

JOINT = "joint"


def add_joint(scorer: JointScorer, products: ProductVectors, candidates: Candidates) -> Candidates:
    """The candidates with the column that a scorer gives them; NaN where the query, or the product, has neither text nor picture.

    Raises:
        ReleaseMismatch: vectors are of other widths or another space than those the scorer was fitted on.
    """
    asked = any(name in candidates.query_vectors for name in MODALITIES)
    known_C = np.logical_and(products.has_N2[candidates.rows_C].any(axis=1), asked)
    scores_C = np.full(len(candidates.rows_C), np.nan, np.float32)
    scores_C[known_C] = scorer.score(candidates.query_vectors, products, candidates.rows_C[known_C])
    return with_joint(candidates, scores_C)


def with_joint(candidates: Candidates, scores_C: NDArray[np.float32]) -> Candidates:
    """The candidates with `joint` as their last retriever, ranked by its scores among each other (ties by row); NaN is not ranked."""
    assert JOINT not in candidates.retrievers
    assert scores_C.shape == candidates.rows_C.shape
    scores_C1 = scores_C.astype(np.float32)[:, np.newaxis]
    known = np.flatnonzero(np.isfinite(scores_C))
    ranks_C1 = np.zeros_like(scores_C1, np.int32)
    ordered = known[best_first(scores_C[known], candidates.rows_C[known])]
    ranks_C1[ordered, 0] = np.arange(1, len(known) + 1)
    return replace(
        candidates,
        retrievers=(*candidates.retrievers, JOINT),
        scores_CR=np.concatenate([candidates.scores_CR, scores_C1], axis=1),
        ranks_CR=np.concatenate([candidates.ranks_CR, ranks_C1], axis=1),
    )
