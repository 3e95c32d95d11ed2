"""Properties of features: bitwise batch invariance, no future events, order-free ledgers, whole queries in shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import COUNTED_KINDS, ProductStats, StatsLedger
from intarsia.ids import ProductId
from intarsia.ranking.rows import pack_queries
from intarsia.records.candidates import Candidates
from intarsia.records.event import Event
from intarsia.records.feature_matrix import CandidateFrame
from intarsia.records.product_columns import ProductColumns
from intarsia.records.query import EncodedQuery, Query
from tests.feature_cases import ExactVectors, take
from tests.strategies import candidates, events, product_columns, queries

DIM = 5
few = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
some = settings(few, max_examples=20)  # drawing a shop, stats, queries and candidates is slow


@st.composite
def assembled(draw: st.DrawFn) -> tuple[Assembler, list[EncodedQuery], list[Candidates]]:
    """A shop, queries and their candidates, fused or not, with vectors for some products."""
    columns = draw(product_columns(min_size=1))
    ledger = StatsLedger.empty().fold_all(draw(st.lists(events(), max_size=6)))
    vectors = {space: _vectors(columns.num_rows, seed) for seed, space in enumerate(("text", "image"))}
    encoded = draw(st.lists(queries(), min_size=1, max_size=3))
    candidates_by_query = [_within(draw(candidates()), columns, fused=draw(st.booleans())) for _ in encoded]
    return Assembler(columns, ledger.as_of(None), vectors), [_encoded(q) for q in encoded], candidates_by_query


@some
@given(assembled(), st.integers(0, 100), st.randoms(use_true_random=False))
def test_permuting_and_splitting_rows_changes_no_bit(drawn: tuple, cut: int, shuffler: object) -> None:
    assembler, encoded, candidates_by_query = drawn
    frame = assembler.assemble(encoded, candidates_by_query)
    whole = _bits(frame)
    order = np.arange(frame.num_rows)
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    assert _bits(take(frame, order)) == [whole[n] for n in order]
    cut = min(cut, frame.num_rows)
    rows = np.arange(frame.num_rows)
    assert _bits(take(frame, rows[:cut])) + _bits(take(frame, rows[cut:])) == whole


@some
@given(assembled())
def test_a_batch_has_the_bits_of_each_query_by_itself(drawn: tuple) -> None:
    assembler, encoded, candidates_by_query = drawn
    single = [
        _bits(assembler.assemble([query], [of_query]))
        for query, of_query in zip(encoded, candidates_by_query, strict=True)
    ]
    assert _bits(assembler.assemble(encoded, candidates_by_query)) == [row for rows in single for row in rows]


@few
@given(st.lists(events(), max_size=12), st.lists(events(), max_size=6), st.integers(0, 11))
def test_events_received_later_change_nothing(before: list[Event], after: list[Event], position: int) -> None:
    moment = before[position % len(before)].received_at if before else None
    if moment is None:
        return
    ids = {event.event_id for event in before}
    later = [e for e in after if e.received_at > moment and e.event_id not in ids]
    assert _same(_fold(before + later).as_of(moment), _fold(before).as_of(moment))


@few
@given(st.lists(events(), max_size=12), st.integers(0, 12), st.randoms(use_true_random=False))
def test_a_ledger_is_the_same_for_any_order_and_any_repeats_of_events(
    drawn: list[Event], cut: int, shuffler: object
) -> None:
    whole = _fold(drawn)
    assert _equal(_fold(drawn[:cut]).fold_all(drawn[cut:]), whole)
    assert _equal(whole.fold_all(drawn), whole)
    mixed = drawn + drawn[:cut]
    shuffler.shuffle(mixed)  # type: ignore[attr-defined]
    ledger = StatsLedger.empty()
    for event in mixed:
        ledger = ledger.fold(event)
    assert _equal(ledger, whole)


@few
@given(st.lists(events(), max_size=12))
def test_stats_equal_a_plain_count(drawn: list[Event]) -> None:
    first = {e.event_id: e for e in sorted(drawn, key=lambda e: e.received_at, reverse=True) if e.kind in COUNTED_KINDS}
    ambiguous = {e.event_id for e in drawn} - {i for i in first if sum(e.event_id == i for e in drawn) == 1}
    unambiguous = [e for e in drawn if e.event_id not in ambiguous]
    stats = _fold(unambiguous).as_of(None)
    counts = stats.columns([ProductId("p0000"), ProductId("p0001")])
    for position, product in enumerate(("p0000", "p0001")):
        for kind in COUNTED_KINDS:
            by_hand = sum(e.kind == kind and e.product_id == product for e in unambiguous)
            assert np.isnan(counts[kind][position]) if not len(stats.product_ids) else counts[kind][position] == by_hand


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


def _within(drawn: Candidates, columns: ProductColumns, *, fused: bool) -> Candidates:
    """The first candidates, as the shop's first products; fused by a score with ties."""
    kept = drawn.only(np.arange(len(drawn.rows_C)) < columns.num_rows)
    kept = replace(kept, rows_C=np.arange(len(kept.rows_C), dtype=np.int64))
    return kept.with_fused(np.nan_to_num(kept.scores_CR[:, 0].astype(np.float64)).round()) if fused else kept


def _vectors(num_rows: int, seed: int) -> ExactVectors:
    rng = np.random.default_rng(seed)
    return ExactVectors({row: rng.normal(size=(row % 3, DIM)).tolist() for row in range(num_rows) if row % 3}, DIM)


def _bits(frame: CandidateFrame) -> list[bytes]:
    return [row.tobytes() for row in FEATURES.compute(frame).values_nF]


def _fold(drawn: Sequence[Event]) -> StatsLedger:
    return StatsLedger.empty().fold_all(drawn)


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
