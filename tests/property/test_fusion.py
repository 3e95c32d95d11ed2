"""The laws of fusion, for every kind and normaliser: equal to the definition, nothing invented, batches change no bit."""

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
    """Any spec whose weights are above 0."""
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


def fused(spec: FusionSpec, given_candidates: Candidates) -> dict[int, float]:
    found = SpecFuser(spec).fuse(given_candidates)
    assert found.fused_C is not None
    return dict(zip(found.rows_C.tolist(), found.fused_C.tolist(), strict=True))


@given(candidates(), specs())
def test_a_fused_score_is_what_the_definition_says(one: Candidates, spec: FusionSpec) -> None:
    expected = fused_by_definition(one, spec)
    assert fused(spec, one) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(candidates(), specs())
def test_fusing_never_invents_and_keeps_what_somebody_returned_within_depth(one: Candidates, spec: FusionSpec) -> None:
    within = ((one.ranks_CR > 0) & (one.ranks_CR <= spec.depth)).any(axis=1)
    assert list(fused(spec, one)) == one.rows_C[within].tolist()


@given(st.lists(candidates(), max_size=4), specs())
def test_a_query_in_a_batch_has_the_very_bits_it_has_alone(several: list[Candidates], spec: FusionSpec) -> None:
    together = fuse_batch(spec, pack(several))
    alone = [fuse_batch(spec, pack([one])).fused_n for one in several]
    assert together.fused_n.tobytes() == b"".join(fused_n.tobytes() for fused_n in alone)
    assert together.batch.groups.lengths_G.tolist() == [len(fused_n) for fused_n in alone]


@given(st.lists(candidates(), max_size=4), specs(), st.integers(1, 9))
def test_the_best_of_a_batch_are_in_the_one_order_of_the_house(
    several: list[Candidates], spec: FusionSpec, num: int
) -> None:
    together = fuse_batch(spec, pack(several))
    positions_QK = together.batch.groups.top_positions(together.fused_n, num)
    for one, positions_K in zip(several, positions_QK, strict=True):
        alone = SpecFuser(spec).fuse(one)
        assert alone.fused_C is not None
        expected = alone.rows_C[best_first(alone.fused_C, alone.rows_C)[:num]]
        assert together.batch.rows_n[positions_K[positions_K >= 0]].tolist() == expected.tolist()


@given(candidates(), st.integers(0, 2**32 - 1))
def test_reciprocal_ranks_ignore_scores(one: Candidates, seed: int) -> None:
    rng = np.random.default_rng(seed)
    others_CR = np.where(np.isnan(one.scores_CR), np.nan, rng.normal(size=one.scores_CR.shape)).astype(np.float32)
    spec = FusionSpec(kind="rrf")
    assert fused(spec, replace(one, scores_CR=others_CR)) == fused(spec, one)


@pytest.mark.parametrize("name", SHIFT_AND_SCALE_FREE)
@given(
    one=candidates(),
    shifts=st.tuples(*[st.integers(-50, 50)] * len(RETRIEVERS)),
    scales=st.tuples(*[st.sampled_from([0.25, 1.0, 8.0])] * len(RETRIEVERS)),
)
def test_shift_and_scale_of_a_retriever_change_nothing(
    name: NormaliserName, one: Candidates, shifts: tuple[int, ...], scales: tuple[float, ...]
) -> None:
    spec = FusionSpec(kind="convex", normaliser=name, weights=UNEQUAL)
    whole = replace(one, scores_CR=np.round(one.scores_CR))  # whole numbers: shift and scale are exact
    moved_CR: NDArray[np.float32] = (whole.scores_CR * np.array(scales) + np.array(shifts)).astype(np.float32)
    moved = replace(one, scores_CR=moved_CR)
    assert fused(spec, moved) == pytest.approx(fused(spec, whole), rel=1e-6, abs=1e-7)


@given(candidates(), specs(), st.sampled_from(range(len(RETRIEVERS))))
def test_weight_zero_equals_absence(one: Candidates, spec: FusionSpec, absent: int) -> None:
    if spec.kind == "equal":
        spec = replace(spec, kind="convex")
    present = [at for at in range(len(RETRIEVERS)) if at != absent]
    weights = {name: spec.weights.get(name, 1.0) for name in RETRIEVERS}
    without = replace(
        one,
        retrievers=tuple(RETRIEVERS[at] for at in present),
        scores_CR=one.scores_CR[:, present],
        ranks_CR=one.ranks_CR[:, present],
    )
    expected = fused(replace(spec, weights=weights), without)
    weightless = replace(spec, weights=weights | {RETRIEVERS[absent]: 0.0})
    if expected:
        assert fused(weightless, one) == expected
    else:  # nobody else returned anything: better its answer than none
        assert (
            list(fused(weightless, one))
            == one.rows_C[(one.ranks_CR[:, absent] > 0) & (one.ranks_CR[:, absent] <= spec.depth)].tolist()
        )


@pytest.mark.parametrize("name", sorted(NORMALISERS))
@given(one=candidates())
def test_a_normaliser_keeps_each_retrievers_order_and_what_is_missing(name: NormaliserName, one: Candidates) -> None:
    batch = pack([one])
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
def test_long_candidate_lists_too_have_the_same_bits_in_a_batch_as_alone(
    name: NormaliserName, rng: np.random.Generator
) -> None:
    several = [long_candidates(rng, int(num)) for num in rng.integers(1, 700, 12)]
    spec = FusionSpec(kind="convex", normaliser=name, weights=UNEQUAL)
    alone = [fuse_batch(spec, pack([one])).fused_n.tobytes() for one in several]
    assert fuse_batch(spec, pack(several)).fused_n.tobytes() == b"".join(alone)


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
def test_the_best_of_long_lists_full_of_ties_are_those_of_a_whole_sort(
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
