"""The laws of features: batch invariance to the bit, no future, folding, whole queries in shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import KINDS, ProductStats, StatsLedger
from intarsia.ids import ProductId
from intarsia.ranking.rows import pack_queries
from intarsia.records.candidates import Candidates
from intarsia.records.event import Event
from intarsia.records.feature_matrix import CandidateFrame
from intarsia.records.product_columns import ProductColumns
from intarsia.records.query import EncodedQuery, Query
from tests.feature_cases import Vectors, take
from tests.strategies import candidates, events, product_columns, queries

DIM = 5
few = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
some = settings(few, max_examples=20)  # a shop, its stats, queries and candidates are much to draw


@st.composite
def assembled(draw: st.DrawFn) -> tuple[Assembler, list[EncodedQuery], list[Candidates]]:
    """A shop, some queries and their candidates, fused or not, with vectors for some products."""
    columns = draw(product_columns(min_size=1))
    ledger = StatsLedger.empty().fold_all(draw(st.lists(events(), max_size=6)))
    vectors = {space: _vectors(columns.num_rows, seed) for seed, space in enumerate(("text", "image"))}
    asked = draw(st.lists(queries(), min_size=1, max_size=3))
    found = [_within(draw(candidates()), columns, fused=draw(st.booleans())) for _ in asked]
    return Assembler(columns, ledger.as_of(None), vectors), [_encoded(q) for q in asked], found


@some
@given(assembled(), st.integers(0, 100), st.randoms(use_true_random=False))
def test_permuting_and_splitting_rows_changes_no_bit(made: tuple, cut: int, shuffler: object) -> None:
    assembler, asked, found = made
    frame = assembler.assemble(asked, found)
    whole = _bits(frame)
    order = np.arange(frame.num_rows)
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    assert _bits(take(frame, order)) == [whole[n] for n in order]
    cut = min(cut, frame.num_rows)
    rows = np.arange(frame.num_rows)
    assert _bits(take(frame, rows[:cut])) + _bits(take(frame, rows[cut:])) == whole


@some
@given(assembled())
def test_a_batch_of_queries_gives_the_bits_of_each_alone(made: tuple) -> None:
    assembler, asked, found = made
    alone = [_bits(assembler.assemble([query], [each])) for query, each in zip(asked, found, strict=True)]
    assert _bits(assembler.assemble(asked, found)) == [row for rows in alone for row in rows]


@few
@given(st.lists(events(), max_size=12), st.lists(events(), max_size=6), st.integers(0, 11))
def test_events_received_after_a_moment_change_nothing(before: list[Event], after: list[Event], place: int) -> None:
    moment = before[place % len(before)].received_at if before else None
    if moment is None:
        return
    ids = {event.event_id for event in before}
    later = [e for e in after if e.received_at > moment and e.event_id not in ids]
    assert _same(_fold(before + later).as_of(moment), _fold(before).as_of(moment))


@few
@given(st.lists(events(), max_size=12), st.integers(0, 12), st.randoms(use_true_random=False))
def test_snapshot_and_rest_are_the_whole_in_any_order_and_however_often(
    found: list[Event], cut: int, shuffler: object
) -> None:
    whole = _fold(found)
    assert _equal(_fold(found[:cut]).fold_all(found[cut:]), whole)
    assert _equal(whole.fold_all(found), whole)
    mixed = found + found[:cut]
    shuffler.shuffle(mixed)  # type: ignore[attr-defined]
    one_by_one = StatsLedger.empty()
    for event in mixed:
        one_by_one = one_by_one.fold(event)
    assert _equal(one_by_one, whole)


@few
@given(st.lists(events(), max_size=12))
def test_stats_equal_a_count_by_hand(found: list[Event]) -> None:
    first = {e.event_id: e for e in sorted(found, key=lambda e: e.received_at, reverse=True) if e.kind in KINDS}
    unclear = {e.event_id for e in found} - {i for i in first if sum(e.event_id == i for e in found) == 1}
    sure = [e for e in found if e.event_id not in unclear]
    stats = _fold(sure).as_of(None)
    shown = stats.columns([ProductId("p0000"), ProductId("p0001")])
    for place, product in enumerate(("p0000", "p0001")):
        for kind in KINDS:
            by_hand = sum(e.kind == kind and e.product_id == product for e in sure)
            assert np.isnan(shown[kind][place]) if not len(stats.product_ids) else shown[kind][place] == by_hand


@few
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 6))
def test_every_query_goes_whole_into_one_shard(sizes: Sequence[int], num_shards: int) -> None:
    if len(sizes) < num_shards:
        return
    shards = pack_queries(np.array(sizes, np.int64), num_shards)
    assert sorted(g for shard in shards for g in shard) == list(range(len(sizes)))
    assert all(shards)
    loads = [sum(max(sizes[g], 1) for g in shard) for shard in shards]
    assert max(loads) - min(loads) <= max(max(sizes), 1)


def _encoded(query: Query) -> EncodedQuery:
    return EncodedQuery(query=query)


def _within(found: Candidates, columns: ProductColumns, *, fused: bool) -> Candidates:
    """The first candidates, as the shop's first products; fused by a score with ties."""
    kept = found.only(np.arange(len(found.rows_C)) < columns.num_rows)
    kept = replace(kept, rows_C=np.arange(len(kept.rows_C), dtype=np.int64))
    return kept.with_fused(np.nan_to_num(kept.scores_CR[:, 0].astype(np.float64)).round()) if fused else kept


def _vectors(num_rows: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    return Vectors({row: rng.normal(size=(row % 3, DIM)).tolist() for row in range(num_rows) if row % 3}, DIM)


def _bits(frame: CandidateFrame) -> list[bytes]:
    return [row.tobytes() for row in FEATURES.compute(frame).values_nF]


def _fold(found: Sequence[Event]) -> StatsLedger:
    return StatsLedger.empty().fold_all(found)


def _equal(one: StatsLedger, other: StatsLedger) -> bool:
    names = StatsLedger.__dataclass_fields__
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def _same(one: ProductStats, other: ProductStats) -> bool:
    return (
        one.product_ids == other.product_ids
        and one.as_of == other.as_of
        and np.array_equal(one.counts_PK, other.counts_PK)
        and np.array_equal(one.dwell_ms_P, other.dwell_ms_P)
        and np.array_equal(one.dwells_P, other.dwells_P)
    )
