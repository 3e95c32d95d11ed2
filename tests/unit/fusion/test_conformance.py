"""What every kind of fusion in the registry keeps, fitted on small lessons of four retrievers."""

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

ALL = sorted(FUSION_METHODS)
OF_SCORES = sorted(name for name, kind in FUSION_METHODS.items() if not kind.reads_vectors)
FITTED = sorted(name for name in OF_SCORES if FUSION_METHODS[name].is_fitted)


def bits(kind: str, one: Candidates) -> bytes:
    fused = fitted(kind).fuse(one)
    assert fused.fused_C is not None
    return fused.fused_C.tobytes()


@pytest.mark.parametrize("kind", ALL)
def test_defaults_are_a_whole_config(kind: str) -> None:
    assert parse_method_config({"kind": kind}).kind == kind


@pytest.mark.parametrize("kind", ALL)
def test_it_scores_every_candidate_and_changes_nothing_else(kind: str) -> None:
    for one in training_data("test").candidates:
        fused = fitted(kind).fuse(one)
        assert fused.fused_C is not None
        assert replace(fused, fused_C=None).rows_C.tolist() == one.rows_C.tolist()
        assert fused.retrievers == one.retrievers
        assert fused.scores_CR.tobytes() == one.scores_CR.tobytes()
        assert fused.ranks_CR.tobytes() == one.ranks_CR.tobytes()


@pytest.mark.parametrize("kind", ALL)
def test_what_it_says_of_a_query_hangs_on_no_other(kind: str) -> None:
    some = training_data("test").candidates
    first = [bits(kind, one) for one in some]
    assert [bits(kind, one) for one in reversed(some)] == first[::-1]


@pytest.mark.parametrize("kind", OF_SCORES)
def test_a_batch_of_many_has_the_very_bits_of_one_by_one(kind: str) -> None:
    some = [*training_data("test").candidates, nothing(), only_first(1)]
    fused: FusedBatch = fitted(kind).fuse_batch(pack(some))  # type: ignore[attr-defined]
    assert fused.fused_n.tobytes() == b"".join(bits(kind, one) for one in some)
    assert fused.batch.groups.lengths_G.tolist() == [len(one.rows_C) for one in some]


@pytest.mark.parametrize("kind", ALL)
def test_saved_and_opened_it_has_the_same_bits(kind: str, tmp_path: Path) -> None:
    fitted(kind).save(tmp_path)
    opened = open_fuser(tmp_path, products())
    for one in training_data("test").candidates:
        fused = opened.fuse(one)
        assert fused.fused_C is not None
        assert fused.fused_C.tobytes() == bits(kind, one)


@pytest.mark.parametrize("kind", FITTED)
def test_equal_lessons_and_seed_give_equal_bits(kind: str) -> None:
    again = fit_fuser(small_config(kind), training_data("train"), training_data("validation"), seed=7)
    for one in training_data("test").candidates:
        fused = again.fuse(one)
        assert fused.fused_C is not None
        assert fused.fused_C.tobytes() == bits(kind, one)


@pytest.mark.parametrize("kind", OF_SCORES)
def test_equal_opinions_are_equal_scores(kind: str) -> None:
    one = training_data("test").candidates[0]
    twins = replace(
        one, scores_CR=np.repeat(one.scores_CR[:1], len(one.rows_C), axis=0), ranks_CR=np.ones_like(one.ranks_CR)
    )
    fused = fitted(kind).fuse(twins)
    assert fused.fused_C is not None
    assert len(set(fused.fused_C.tolist())) == 1


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("num", [0, 1])
def test_no_candidate_and_a_lone_one_are_legal(kind: str, num: int) -> None:
    assert len(bits(kind, only_first(num))) == num * 4


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", RETRIEVERS)
def test_a_retriever_that_scores_nothing_says_what_one_that_is_down_says(kind: str, name: str) -> None:
    one = training_data("test").candidates[0]
    others = only_retrievers(one, tuple(other for other in RETRIEVERS if other != name))
    scores_CR, ranks_CR = one.scores_CR.copy(), one.ranks_CR.copy()
    scores_CR[:, RETRIEVERS.index(name)], ranks_CR[:, RETRIEVERS.index(name)] = np.nan, 0
    silent = replace(one, scores_CR=scores_CR, ranks_CR=ranks_CR).only((ranks_CR > 0).any(axis=1))
    assert bits(kind, silent) == bits(kind, others)


@pytest.mark.parametrize("kind", ALL)
def test_only_a_image_and_only_words_are_answered(kind: str) -> None:
    one = training_data("test").candidates[0]
    for names in (("image",), ("bm25", "text", "aligned"), ("aligned",)):
        some = only_retrievers(one, names)
        assert len(bits(kind, some)) == 4 * len(some.rows_C) > 0


@pytest.mark.parametrize("kind", sorted(set(ALL) - {"rrf", "convex", "equal", "comb_sum", "comb_mnz"}))
def test_a_retriever_that_was_not_there_at_the_fit_is_refused(kind: str) -> None:
    one = training_data("test").candidates[0]
    with pytest.raises(ReleaseMismatch, match=r"sound.* only .*bm25, text, image, aligned.*; run search_fusion"):
        fitted(kind).fuse(replace(one, retrievers=("bm25", "text", "image", "sound")))


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"fusion kind 'stackin' is not known; did you mean stacking\?"):
        parse_method_config({"kind": "stackin"})
    with pytest.raises(ConfigError, match=r"setting fusion.kind is required: one of rrf, convex"):
        parse_method_config({})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", r"fusion.json is not a fusion spec"),
        ('{"weights": {}}', r"fusion.json is not a fusion spec: it names no kind"),
        ('{"kind": "stack"}', r"fusion.json is of kind 'stack'; did you mean stacking\?; run search_fusion again"),
        (
            '{"kind": "boosting", "config": {"kind": "boosting", "dept": 3}}',
            r"unknown setting config.dept; did you mean depth\?",
        ),
        ('{"kind": "boosting", "config": {"kind": "boosting"}}', r"trees.txt is missing; run search_fusion again"),
        ('{"kind": "gate", "config": {"kind": "gate"}}', r"fusion.json is not a gate: KeyError\('spec'\)"),
        (
            '{"kind": "stacking", "config": {"kind": "stacking", "members": []}, "retrievers": ["bm25"]}',
            r"has 0 weights for 1 retrievers and 0 members",
        ),
        ('{"kind": "average", "config": {"kind": "average"}}', r"does not exist; fit the feature fusion again"),
    ],
)
def test_a_torn_or_foreign_fuser_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / FUSION_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=words):
        open_fuser(tmp_path, products())


def test_an_empty_folder_says_which_job_makes_a_fuser(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"fusion.json does not exist; run search_fusion"):
        open_fuser(tmp_path)


def only_first(num: int) -> Candidates:
    one = training_data("test").candidates[0]
    return one.only(np.arange(len(one.rows_C)) < num)


def nothing() -> Candidates:
    return only_first(0)
