"""Properties of fusion, for every method without fitted parts and every normaliser."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from intarsia.fusion.batch import pack
from intarsia.fusion.fuser import SPEC_METHODS, SpecFuser, fuse_batch
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.spec import FusionSpec, NormaliserName, SpecMethodName
from intarsia.ids import ReleaseId
from intarsia.maths.grouped import Groups
from intarsia.maths.simplex import simplex_grid
from intarsia.records.candidates import Candidates, best_first
from tests.oracles import fused_by_definition
from tests.strategies import RETRIEVERS, candidates

UNEQUAL = {name: (at + 2) / 10 for at, name in enumerate(RETRIEVERS)}
SHIFT_AND_SCALE_FREE: tuple[NormaliserName, ...] = ("min_max", "z", "quantile")


@st.composite
def specs(draw: st.DrawFn) -> FusionSpec:
    """Any spec with weights above 0."""
    kind: SpecMethodName = draw(st.sampled_from(sorted(SPEC_METHODS)))
    weight = st.floats(0.01, 1.0)
    weights = {} if kind == "equal" else draw(st.just({}) | st.fixed_dictionaries(dict.fromkeys(RETRIEVERS, weight)))
    return FusionSpec(
        kind=kind,
        normaliser=draw(st.sampled_from(sorted(NORMALISERS))),
        missing=draw(st.sampled_from(["lowest", "mean", "renormalise"])),
        weights=weights,
        rrf_k=draw(st.sampled_from([1.0, 60.0])),
        depth=draw(st.sampled_from([1, 2, 1000])),
    )


def fused(spec: FusionSpec, query_candidates: Candidates) -> dict[int, float]:
    result = SpecFuser(spec).fuse(query_candidates)
    assert result.fused_C is not None
    return dict(zip(result.rows_C.tolist(), result.fused_C.tolist(), strict=True))


@given(candidates(), specs())
def test_a_fused_score_equals_the_definition(query_candidates: Candidates, spec: FusionSpec) -> None:
    expected = fused_by_definition(query_candidates, spec)
    assert fused(spec, query_candidates) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(candidates(), specs())
def test_exactly_the_candidates_returned_within_depth_are_kept(query_candidates: Candidates, spec: FusionSpec) -> None:
    within = ((query_candidates.ranks_CR > 0) & (query_candidates.ranks_CR <= spec.depth)).any(axis=1)
    assert list(fused(spec, query_candidates)) == query_candidates.rows_C[within].tolist()


@given(st.lists(candidates(), max_size=4), specs())
def test_a_query_in_a_batch_has_the_same_bits_as_on_its_own(queries: list[Candidates], spec: FusionSpec) -> None:
    together = fuse_batch(spec, pack(queries))
    single = [fuse_batch(spec, pack([query_candidates])).fused_n for query_candidates in queries]
    assert together.fused_n.tobytes() == b"".join(fused_n.tobytes() for fused_n in single)
    assert together.batch.groups.lengths_G.tolist() == [len(fused_n) for fused_n in single]


@given(st.lists(candidates(), max_size=4), specs(), st.integers(1, 9))
def test_top_positions_of_a_batch_follow_best_first(queries: list[Candidates], spec: FusionSpec, num: int) -> None:
    together = fuse_batch(spec, pack(queries))
    positions_QK = together.batch.groups.top_positions(together.fused_n, num)
    for query_candidates, positions_K in zip(queries, positions_QK, strict=True):
        single = SpecFuser(spec).fuse(query_candidates)
        assert single.fused_C is not None
        expected = single.rows_C[best_first(single.fused_C, single.rows_C)[:num]]
        assert together.batch.rows_n[positions_K[positions_K >= 0]].tolist() == expected.tolist()


@given(candidates(), st.integers(0, 2**32 - 1))
def test_reciprocal_ranks_ignore_scores(query_candidates: Candidates, seed: int) -> None:
    rng = np.random.default_rng(seed)
    others_CR = np.where(
        np.isnan(query_candidates.scores_CR), np.nan, rng.normal(size=query_candidates.scores_CR.shape)
    ).astype(np.float32)
    spec = FusionSpec(kind="rrf")
    assert fused(spec, replace(query_candidates, scores_CR=others_CR)) == fused(spec, query_candidates)


@pytest.mark.parametrize("name", SHIFT_AND_SCALE_FREE)
@given(
    query_candidates=candidates(),
    shifts=st.tuples(*[st.integers(-50, 50)] * len(RETRIEVERS)),
    scales=st.tuples(*[st.sampled_from([0.25, 1.0, 8.0])] * len(RETRIEVERS)),
)
def test_shift_and_scale_of_a_retriever_change_nothing(
    name: NormaliserName, query_candidates: Candidates, shifts: tuple[int, ...], scales: tuple[float, ...]
) -> None:
    spec = FusionSpec(kind="convex", normaliser=name, weights=UNEQUAL)
    rounded = replace(
        query_candidates, scores_CR=np.round(query_candidates.scores_CR)
    )  # whole numbers: shift and scale are exact
    moved_CR: NDArray[np.float32] = (rounded.scores_CR * np.array(scales) + np.array(shifts)).astype(np.float32)
    moved = replace(query_candidates, scores_CR=moved_CR)
    assert fused(spec, moved) == pytest.approx(fused(spec, rounded), rel=1e-6, abs=1e-7)


@given(candidates(), specs(), st.sampled_from(range(len(RETRIEVERS))))
def test_weight_zero_equals_absence(query_candidates: Candidates, spec: FusionSpec, absent: int) -> None:
    if spec.kind == "equal":
        spec = replace(spec, kind="convex")
    present = [at for at in range(len(RETRIEVERS)) if at != absent]
    weights = {name: spec.weights.get(name, 1.0) for name in RETRIEVERS}
    without = replace(
        query_candidates,
        retrievers=tuple(RETRIEVERS[at] for at in present),
        scores_CR=query_candidates.scores_CR[:, present],
        ranks_CR=query_candidates.ranks_CR[:, present],
    )
    expected = fused(replace(spec, weights=weights), without)
    weightless = replace(spec, weights=weights | {RETRIEVERS[absent]: 0.0})
    if expected:
        assert fused(weightless, query_candidates) == expected
    else:  # no other retriever returned anything: its results are kept
        assert (
            list(fused(weightless, query_candidates))
            == query_candidates.rows_C[
                (query_candidates.ranks_CR[:, absent] > 0) & (query_candidates.ranks_CR[:, absent] <= spec.depth)
            ].tolist()
        )


@pytest.mark.parametrize("name", sorted(NORMALISERS))
@given(query_candidates=candidates())
def test_a_normaliser_keeps_order_and_missing_scores(name: NormaliserName, query_candidates: Candidates) -> None:
    batch = pack([query_candidates])
    normal_Rn = NORMALISERS[name](batch.scores_Rn, batch.groups, np.array([0.0, *[-1.0] * (len(RETRIEVERS) - 1)]))
    assert np.array_equal(np.isnan(normal_Rn), np.isnan(batch.scores_Rn))
    for scores_n, normal_n in zip(batch.scores_Rn, normal_Rn, strict=True):
        known = normal_n[~np.isnan(scores_n)][np.argsort(scores_n[~np.isnan(scores_n)], kind="stable")]
        assert bool(np.all(np.diff(known) >= 0))


@given(st.integers(1, 5), st.integers(1, 8))
def test_a_simplex_grid_has_every_point_once_and_each_sums_exactly(num_parts: int, num_steps: int) -> None:
    points = list(simplex_grid(num_parts, num_steps))
    assert len(points) == len(set(points)) == math.comb(num_steps + num_parts - 1, num_parts - 1)
    assert {sum(point) for point in points} == {num_steps}
    assert all(len(point) == num_parts and min(point) >= 0 for point in points)


@pytest.mark.parametrize("name", sorted(NORMALISERS))
def test_long_lists_have_the_same_bits_in_a_batch_as_on_their_own(
    name: NormaliserName, rng: np.random.Generator
) -> None:
    queries = [long_candidates(rng, int(num)) for num in rng.integers(1, 700, 12)]
    spec = FusionSpec(kind="convex", normaliser=name, weights=UNEQUAL)
    single = [fuse_batch(spec, pack([query_candidates])).fused_n.tobytes() for query_candidates in queries]
    assert fuse_batch(spec, pack(queries)).fused_n.tobytes() == b"".join(single)


def long_candidates(rng: np.random.Generator, num: int) -> Candidates:
    scores_CR = rng.normal(size=(num, len(RETRIEVERS))).astype(np.float32)
    ranks_CR = 1 + np.argsort(np.argsort(-scores_CR, axis=0), axis=0).astype(np.int32)
    return Candidates(
        release_id=ReleaseId("r-1"),
        rows_C=np.arange(num, dtype=np.int64),
        retrievers=RETRIEVERS,
        scores_CR=scores_CR,
        ranks_CR=ranks_CR,
        views_C=np.zeros(num, np.int32),
    )


@pytest.mark.parametrize("num", [1, 10, 400])
@pytest.mark.parametrize("longest", [30, 3000])  # one query far longer than all others, and none
def test_top_positions_of_long_lists_with_ties_equal_a_full_sort(
    num: int, longest: int, rng: np.random.Generator
) -> None:
    lengths = [*rng.integers(0, 30, 20).tolist(), longest, *rng.integers(0, 30, 20).tolist()]
    groups = Groups(np.cumsum([0, *lengths]).astype(np.int64))
    fused_n = rng.integers(0, 4, groups.offsets[-1]).astype(np.float32)
    positions_GK = groups.top_positions(fused_n, num)
    for start, end, positions_K in zip(groups.offsets[:-1], groups.offsets[1:], positions_GK, strict=True):
        expected = start + best_first(fused_n[start:end], np.arange(end - start))[:num]
        assert positions_K[positions_K >= 0].tolist() == expected.tolist()
        assert np.all(np.diff((positions_K >= 0).astype(int)) <= 0)
