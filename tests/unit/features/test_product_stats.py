"""Product stats as of a time: which events count, and that saving keeps them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from intarsia.config import build
from intarsia.errors import ArtifactError, ConfigError
from intarsia.features.stats import COUNTED_KINDS, ProductStats, StatsLedger
from intarsia.ids import ProductId
from intarsia.lake import Lake
from intarsia.tables.events import EVENTS, event_to_row
from pipelines.build_product_stats import BuildProductStatsConfig, run
from tests.feature_cases import NOON, event

A, B, C = ProductId("a"), ProductId("b"), ProductId("c")
EVENTS_OF_A_DAY = [
    event(1, "impression", "a"),
    event(2, "impression", "b"),
    event(3, "click", "a", dwell_ms=100),
    event(4, "click", "a", at=NOON + timedelta(hours=1), dwell_ms=300),
    event(5, "purchase", "a", at=NOON + timedelta(hours=2)),
    event(6, "rating", "b"),
]


def quiet(step: str, done: int, total: int) -> None:
    pass


def counts(stats: ProductStats, product: ProductId) -> dict[str, float]:
    return {kind: float(stats.columns([product])[kind][0]) for kind in COUNTED_KINDS}


def test_each_kind_is_counted_per_product() -> None:
    stats = StatsLedger.empty().fold(*EVENTS_OF_A_DAY).as_of(None)
    assert counts(stats, A) == {"impression": 1, "view": 0, "click": 2, "add_to_cart": 0, "purchase": 1}
    assert counts(stats, B)["impression"] == 1
    assert counts(stats, C) == dict.fromkeys(COUNTED_KINDS, 0)
    assert stats.columns([A])["dwell_ms"] == [200]
    assert np.isnan(stats.columns([B])["dwell_ms"][0])
    assert stats.as_of == NOON + timedelta(hours=2)


def test_later_events_do_not_count() -> None:
    ledger = StatsLedger.empty().fold(*EVENTS_OF_A_DAY)
    stats = ledger.as_of(NOON + timedelta(minutes=30))
    assert (counts(stats, A)["click"], counts(stats, A)["purchase"]) == (1, 0)
    assert counts(ledger.as_of(NOON - timedelta(days=1)), A) == dict.fromkeys(COUNTED_KINDS, 0)


def test_a_repeated_event_counts_once() -> None:
    once = StatsLedger.empty().fold(*EVENTS_OF_A_DAY)
    twice = once.fold(*EVENTS_OF_A_DAY)
    assert np.array_equal(once.digests_E, twice.digests_E)
    assert counts(twice.as_of(None), A) == counts(once.as_of(None), A)


def test_fold_does_not_change_the_old_ledger() -> None:
    before = StatsLedger.empty().fold(EVENTS_OF_A_DAY[0])
    before.fold(*EVENTS_OF_A_DAY)
    assert len(before.digests_E) == 1


def test_stats_without_events_are_nan() -> None:
    assert np.isnan(ProductStats.empty().columns([A])["click"]).all()


def test_stats_and_ledger_are_the_same_after_saving(tmp_path: Path) -> None:
    ledger = StatsLedger.empty().fold(*EVENTS_OF_A_DAY)
    ledger.save(tmp_path)
    ledger.as_of(None).save(tmp_path)
    opened = ProductStats.open(tmp_path)
    assert counts(opened, A) == counts(ledger.as_of(None), A)
    assert opened.as_of == NOON + timedelta(hours=2)
    more = event(7, "view", "c")
    assert counts(StatsLedger.open(tmp_path).fold(more).as_of(None), C)["view"] == 1


def test_missing_stats_or_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"contains no product stats\. Fix: run build_product_stats"):
        ProductStats.open(tmp_path)
    with pytest.raises(ArtifactError, match=r"contains no event ledger\. Fix: run build_product_stats"):
        StatsLedger.open(tmp_path)
    ProductStats.empty().save(tmp_path)
    header = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    (tmp_path / "stats.json").write_text(json.dumps(header | {"format": 9}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"product stats of format 9 .* this version reads format 1"):
        ProductStats.open(tmp_path)


def test_the_job_counts_the_events_table(lake: Lake) -> None:
    with lake.publish("events") as folder:
        EVENTS.write_part(EVENTS.from_rows([event_to_row(e) for e in EVENTS_OF_A_DAY]), folder, 0)
    summary = run(BuildProductStatsConfig(), lake, quiet)  # type: ignore[arg-type]
    assert summary == {"products": 2, "impression": 2, "view": 0, "click": 2, "add_to_cart": 0, "purchase": 1}
    digest = lake.current("product_stats").digest
    run(BuildProductStatsConfig(), lake, quiet)  # type: ignore[arg-type]
    assert lake.current("product_stats").digest == digest
    run(BuildProductStatsConfig(as_of="2026-03-01T12:30:00+00:00"), lake, quiet)  # type: ignore[arg-type]
    assert counts(ProductStats.open(lake.current("product_stats").path), A)["click"] == 1


def test_the_job_without_events_makes_empty_stats(lake: Lake) -> None:
    run(BuildProductStatsConfig(), lake, quiet)  # type: ignore[arg-type]
    assert ProductStats.open(lake.current("product_stats").path).as_of is None


def test_a_time_without_time_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"as_of is .2026-03-01., without a time zone"):
        build(BuildProductStatsConfig, {"as_of": "2026-03-01"})
