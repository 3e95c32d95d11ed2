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


def test_the_column_ranks_the_candidates_among_each_other_ties_by_row() -> None:
    found = add_joint_column(candidates(ROWS, {}), np.array([0.5, 2.0, 0.5, 1.0], np.float32))
    assert found.retrievers == ("bm25", "joint")
    assert found.ranks_CR[:, 1].tolist() == [3, 1, 4, 2]
    assert found.scores_CR[:, 1].tolist() == [0.5, 2.0, 0.5, 1.0]
    assert (found.scores_CR[:, 0] == candidates(ROWS, {}).scores_CR[:, 0]).all()


def test_what_cannot_be_scored_is_not_ranked() -> None:
    found = add_joint_column(candidates(ROWS, {}), np.array([np.nan, 2.0, np.nan, 3.0], np.float32))
    assert found.ranks_CR[:, 1].tolist() == [0, 2, 0, 1]
    assert np.isnan(found.scores_CR[[0, 2], 1]).all()


def test_no_candidates_no_ranks() -> None:
    nobody = candidates(np.empty(0, np.int64), {})
    assert add_joint_column(nobody, np.empty(0, np.float32)).ranks_CR.shape == (0, 2)


def test_score_fusion_weighs_the_column_like_any_retriever() -> None:
    found = add_joint_column(candidates(ROWS, {}), np.array([0.0, 1.0, 2.0, 4.0], np.float32))
    spec = FusionSpec(kind="convex", weights={"bm25": 0.0, "joint": 1.0})
    assert fuse_batch(spec, pack([found])).fused_n.tolist() == pytest.approx([0.0, 0.25, 0.5, 1.0])


def test_a_scorer_fills_the_column_and_a_query_without_vectors_leaves_it_empty() -> None:
    taught = training_data()
    assert taught.products is not None
    scorer = fit_scorer("average", taught, taught, replace(SMALL, num_steps=1))
    one = taught.candidates[0]
    found = add_feature_scores(scorer, taught.products, one)
    expected = scorer.score(one.query_vectors, taught.products, one.rows_C)
    assert found.scores_CR[:, 1].tobytes() == expected.tobytes()
    has_N2 = taught.products.has_N2.copy()
    has_N2[one.rows_C[2]] = False
    unknown = add_feature_scores(scorer, replace(taught.products, has_N2=has_N2), one)
    assert np.flatnonzero(np.isnan(unknown.scores_CR[:, 1])).tolist() == [2]
    assert unknown.ranks_CR[2, 1] == 0
    blind = add_feature_scores(scorer, taught.products, candidates(ROWS, {}))
    assert np.isnan(blind.scores_CR[:, 1]).all()
    assert (blind.ranks_CR[:, 1] == 0).all()
