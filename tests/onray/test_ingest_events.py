"""The job that makes events, on the session's Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia.config import build
from intarsia.errors import ConfigError, DataError
from intarsia.ids import ProductId
from intarsia.lake import Lake
from intarsia.records.product import Product
from intarsia.tables.events import EVENTS, REJECTED_EVENTS
from intarsia.tables.products import PRODUCTS, product_to_row
from pipelines.ingest_events import JOB, IngestEventsConfig
from pipelines.job import JobProgress
from tests.unit.catalog.shop_files import write_jsonl


@pytest.fixture
def shop(lake: Lake) -> Lake:
    """A lake with one product, P1."""
    with lake.publish("products") as folder:
        row = product_to_row(Product(product_id=ProductId("P1"), title="mug"), ())
        PRODUCTS.write_part(PRODUCTS.from_rows([row]), folder, 0)
    return lake


def _event(number: int, **changed: Any) -> dict[str, Any]:
    at = f"2024-05-31T12:{59 - number % 60:02d}:00Z"
    return {
        "event_id": f"e{number:03d}",
        "request_id": "r",
        "release_id": "v",
        "kind": "view",
        "product_id": "P1",
        "occurred_at": at,
        "received_at": at,
    } | changed


def _run(folder: Path, lake: Lake, **values: Any) -> Any:
    return JOB.run(build(IngestEventsConfig, {"folder": str(folder), **values}), lake, JobProgress("test"))


@pytest.mark.usefixtures("cluster")
def test_events_are_checked_counted_and_ordered_the_same_with_any_number_of_workers(shop: Lake, tmp_path: Path) -> None:
    rotten = [_event(90, product_id="P9"), "{torn", _event(91, kind="klick")]
    write_jsonl(tmp_path / "events.jsonl", [*(_event(n) for n in range(50)), *rotten, _event(7), _event(8)])
    digests = set()
    for values in ({"num_workers": 2, "unit_rows": 10}, {"unit_rows": 1000}):
        counts = _run(tmp_path, shop, max_rejected_share=0.06, **values)
        assert (counts["rows"], counts["events"], counts["rejected"]) == (55, 50, 5)
        assert counts["rejected by reason"] == {
            "broken_json": 1,
            "duplicate_event": 2,
            "kind_unknown": 1,
            "product_unknown": 1,
        }
        digests.add((shop.current("events").digest, shop.current("rejected_events").digest))
    assert len(digests) == 1
    ids = EVENTS.read(shop.current("events"), ["event_id"]).column("event_id").to_pylist()
    assert ids == [f"e{n:03d}" for n in reversed(range(50))]
    assert REJECTED_EVENTS.read(shop.current("rejected_events")).column("row").to_pylist() == [51, 52, 53, 54, 55]


def test_too_many_refused_events_stop_the_job_and_repeated_ones_do_not_count(shop: Lake, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "events.jsonl", [_event(1)] * 10)
    assert _run(tmp_path, shop)["events"] == 1
    before = shop.current("events")
    write_jsonl(tmp_path / "events.jsonl", [_event(1), _event(2, product_id="P9")])
    with pytest.raises(
        DataError, match=r"events: dropped rows is '1 of 2 \(50.0%\), most of them product_unknown \(1\)'"
    ):
        _run(tmp_path, shop)
    assert shop.current("events") == before


def test_a_shop_without_events_has_an_empty_table(shop: Lake, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "events.jsonl", [])
    assert _run(tmp_path, shop)["events"] == 0
    assert EVENTS.read(shop.current("events")).num_rows == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_rejected_share": -1}, "max_rejected_share is -1.0; allowed: 0 to 1"),
        ({"unit_rows": 0}, "unit_rows is 0; allowed: 1 or more"),
        ({"num_workers": -1}, "num_workers is -1; allowed: 0 or more"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(IngestEventsConfig, values)
