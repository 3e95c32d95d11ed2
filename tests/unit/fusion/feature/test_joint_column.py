"""The column `joint` of feature fusion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.fusion.batch import pack
from intarsia.fusion.feature.feature_fuser import add_feature_scores, add_joint_column
from intarsia.fusion.feature.fit import fit_scorer
from intarsia.fusion.fuser import fuse_batch
from intarsia.fusion.spec import FusionSpec
from tests.unit.fusion.feature.vector_catalog import SMALL, candidates, training_data

ROWS = np.array([2, 5, 9, 11], np.int64)


def test_the_column_ranks_the_candidates_with_ties_by_row() -> None:
    with_column = add_joint_column(candidates(ROWS, {}), np.array([0.5, 2.0, 0.5, 1.0], np.float32))
    assert with_column.retrievers == ("bm25", "joint")
    assert with_column.ranks_CR[:, 1].tolist() == [3, 1, 4, 2]
    assert with_column.scores_CR[:, 1].tolist() == [0.5, 2.0, 0.5, 1.0]
    assert (with_column.scores_CR[:, 0] == candidates(ROWS, {}).scores_CR[:, 0]).all()


def test_a_candidate_without_a_score_has_no_rank() -> None:
    with_column = add_joint_column(candidates(ROWS, {}), np.array([np.nan, 2.0, np.nan, 3.0], np.float32))
    assert with_column.ranks_CR[:, 1].tolist() == [0, 2, 0, 1]
    assert np.isnan(with_column.scores_CR[[0, 2], 1]).all()


def test_without_candidates_there_are_no_ranks() -> None:
    no_candidates = candidates(np.empty(0, np.int64), {})
    assert add_joint_column(no_candidates, np.empty(0, np.float32)).ranks_CR.shape == (0, 2)


def test_score_fusion_weighs_the_column_like_a_retriever() -> None:
    with_column = add_joint_column(candidates(ROWS, {}), np.array([0.0, 1.0, 2.0, 4.0], np.float32))
    spec = FusionSpec(kind="convex", weights={"bm25": 0.0, "joint": 1.0})
    assert fuse_batch(spec, pack([with_column])).fused_n.tolist() == pytest.approx([0.0, 0.25, 0.5, 1.0])


def test_a_scorer_fills_the_column_where_query_and_product_have_vectors() -> None:
    data = training_data()
    assert data.products is not None
    scorer = fit_scorer("average", data, data, replace(SMALL, num_steps=1))
    query_candidates = data.candidates[0]
    with_column = add_feature_scores(scorer, data.products, query_candidates)
    expected = scorer.score(query_candidates.query_vectors, data.products, query_candidates.rows_C)
    assert with_column.scores_CR[:, 1].tobytes() == expected.tobytes()
    has_N2 = data.products.has_N2.copy()
    has_N2[query_candidates.rows_C[2]] = False
    one_without_vectors = add_feature_scores(scorer, replace(data.products, has_N2=has_N2), query_candidates)
    assert np.flatnonzero(np.isnan(one_without_vectors.scores_CR[:, 1])).tolist() == [2]
    assert one_without_vectors.ranks_CR[2, 1] == 0
    without_query_vectors = add_feature_scores(scorer, data.products, candidates(ROWS, {}))
    assert np.isnan(without_query_vectors.scores_CR[:, 1]).all()
    assert (without_query_vectors.ranks_CR[:, 1] == 0).all()
