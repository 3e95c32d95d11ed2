"""Properties of every fusion method in the registry, fitted on small training data of four retrievers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import ArtifactError, ConfigError, ReleaseMismatch
from intarsia.fusion.batch import pack
from intarsia.fusion.fuser import FusedBatch
from intarsia.fusion.registry import FUSION_METHODS, fit_fuser, open_fuser, parse_method_config
from intarsia.fusion.spec import FUSION_FILE
from intarsia.records.candidates import Candidates
from tests.unit.fusion.fusion_cases import RETRIEVERS, fitted, only_retrievers, products, small_config, training_data

ALL_METHODS = sorted(FUSION_METHODS)
SCORE_METHODS = sorted(name for name, method in FUSION_METHODS.items() if not method.reads_vectors)
FITTED = sorted(name for name in SCORE_METHODS if FUSION_METHODS[name].is_fitted)


def score_bytes(kind: str, candidates: Candidates) -> bytes:
    fused = fitted(kind).fuse(candidates)
    assert fused.fused_C is not None
    return fused.fused_C.tobytes()


@pytest.mark.parametrize("kind", ALL_METHODS)
def test_the_defaults_are_a_valid_config(kind: str) -> None:
    assert parse_method_config({"kind": kind}).kind == kind


@pytest.mark.parametrize("kind", ALL_METHODS)
def test_every_candidate_gets_a_score_and_nothing_else_changes(kind: str) -> None:
    for candidates in training_data("test").candidates:
        fused = fitted(kind).fuse(candidates)
        assert fused.fused_C is not None
        assert replace(fused, fused_C=None).rows_C.tolist() == candidates.rows_C.tolist()
        assert fused.retrievers == candidates.retrievers
        assert fused.scores_CR.tobytes() == candidates.scores_CR.tobytes()
        assert fused.ranks_CR.tobytes() == candidates.ranks_CR.tobytes()


@pytest.mark.parametrize("kind", ALL_METHODS)
def test_the_scores_of_a_query_do_not_depend_on_other_queries(kind: str) -> None:
    several = training_data("test").candidates
    first = [score_bytes(kind, candidates) for candidates in several]
    assert [score_bytes(kind, candidates) for candidates in reversed(several)] == first[::-1]


@pytest.mark.parametrize("kind", SCORE_METHODS)
def test_a_batch_gives_the_same_bits_as_single_queries(kind: str) -> None:
    several = [*training_data("test").candidates, no_candidates(), only_first(1)]
    fused: FusedBatch = fitted(kind).fuse_batch(pack(several))  # type: ignore[attr-defined]
    assert fused.fused_n.tobytes() == b"".join(score_bytes(kind, candidates) for candidates in several)
    assert fused.batch.groups.lengths_G.tolist() == [len(candidates.rows_C) for candidates in several]


@pytest.mark.parametrize("kind", ALL_METHODS)
def test_a_saved_and_opened_fuser_gives_the_same_bits(kind: str, tmp_path: Path) -> None:
    fitted(kind).save(tmp_path)
    opened = open_fuser(tmp_path, products())
    for candidates in training_data("test").candidates:
        fused = opened.fuse(candidates)
        assert fused.fused_C is not None
        assert fused.fused_C.tobytes() == score_bytes(kind, candidates)


@pytest.mark.parametrize("kind", FITTED)
def test_equal_training_data_and_seed_give_equal_bits(kind: str) -> None:
    refitted = fit_fuser(small_config(kind), training_data("train"), training_data("validation"), seed=7)
    for candidates in training_data("test").candidates:
        fused = refitted.fuse(candidates)
        assert fused.fused_C is not None
        assert fused.fused_C.tobytes() == score_bytes(kind, candidates)


@pytest.mark.parametrize("kind", SCORE_METHODS)
def test_equal_retriever_scores_give_equal_fused_scores(kind: str) -> None:
    candidates = training_data("test").candidates[0]
    identical = replace(
        candidates,
        scores_CR=np.repeat(candidates.scores_CR[:1], len(candidates.rows_C), axis=0),
        ranks_CR=np.ones_like(candidates.ranks_CR),
    )
    fused = fitted(kind).fuse(identical)
    assert fused.fused_C is not None
    assert len(set(fused.fused_C.tolist())) == 1


@pytest.mark.parametrize("kind", ALL_METHODS)
@pytest.mark.parametrize("num", [0, 1])
def test_no_candidate_and_a_single_one_are_allowed(kind: str, num: int) -> None:
    assert len(score_bytes(kind, only_first(num))) == num * 4


@pytest.mark.parametrize("kind", ALL_METHODS)
@pytest.mark.parametrize("name", RETRIEVERS)
def test_a_retriever_that_scores_nothing_counts_as_absent(kind: str, name: str) -> None:
    candidates = training_data("test").candidates[0]
    others = only_retrievers(candidates, tuple(other for other in RETRIEVERS if other != name))
    scores_CR, ranks_CR = candidates.scores_CR.copy(), candidates.ranks_CR.copy()
    scores_CR[:, RETRIEVERS.index(name)], ranks_CR[:, RETRIEVERS.index(name)] = np.nan, 0
    scores_nothing = replace(candidates, scores_CR=scores_CR, ranks_CR=ranks_CR).only((ranks_CR > 0).any(axis=1))
    assert score_bytes(kind, scores_nothing) == score_bytes(kind, others)


@pytest.mark.parametrize("kind", ALL_METHODS)
def test_queries_by_image_only_and_by_text_only_get_scores(kind: str) -> None:
    candidates = training_data("test").candidates[0]
    for names in (("image",), ("bm25", "text", "aligned"), ("aligned",)):
        subset = only_retrievers(candidates, names)
        assert len(score_bytes(kind, subset)) == 4 * len(subset.rows_C) > 0


@pytest.mark.parametrize("kind", sorted(set(ALL_METHODS) - {"rrf", "convex", "equal", "comb_sum", "comb_mnz"}))
def test_a_retriever_that_was_not_part_of_the_fit_is_refused(kind: str) -> None:
    candidates = training_data("test").candidates[0]
    with pytest.raises(ReleaseMismatch, match=r"sound.* only .*bm25, text, image, aligned.*. Fix: run search_fusion"):
        fitted(kind).fuse(replace(candidates, retrievers=("bm25", "text", "image", "sound")))


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"fusion method 'stackin' is not known; did you mean stacking\?"):
        parse_method_config({"kind": "stackin"})
    with pytest.raises(ConfigError, match=r"setting fusion.kind is required: one of rrf, convex"):
        parse_method_config({})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"fusion.json is not a fusion spec"),
        ('{"weights": {}}', r"fusion.json is not a fusion spec: it names no kind"),
        (
            '{"kind": "stack"}',
            r"fusion.json is of kind 'stack'; allowed: rrf, .*, bilinear. Fix: run search_fusion again",
        ),
        (
            '{"kind": "boosting", "config": {"kind": "boosting", "dept": 3}}',
            r"unknown setting config.dept; did you mean depth\?",
        ),
        ('{"kind": "boosting", "config": {"kind": "boosting"}}', r"trees.txt is missing. Fix: run search_fusion again"),
        ('{"kind": "gate", "config": {"kind": "gate"}}', r"fusion.json is not a gate: KeyError\('spec'\)"),
        (
            '{"kind": "stacking", "config": {"kind": "stacking", "members": []}, "retrievers": ["bm25"]}',
            r"has 0 weights for 1 retrievers and 0 members",
        ),
        ('{"kind": "average", "config": {"kind": "average"}}', r"does not exist. Fix: fit the feature fusion again"),
    ],
)
def test_a_damaged_or_unknown_fuser_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / FUSION_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        open_fuser(tmp_path, products())


def test_the_error_for_an_empty_folder_names_the_job(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"fusion.json does not exist. Fix: run search_fusion"):
        open_fuser(tmp_path)


def only_first(num: int) -> Candidates:
    candidates = training_data("test").candidates[0]
    return candidates.only(np.arange(len(candidates.rows_C)) < num)


def no_candidates() -> Candidates:
    return only_first(0)
