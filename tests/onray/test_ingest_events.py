"""The job ingest_events."""

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
def test_events_and_their_order_do_not_depend_on_the_workers(shop: Lake, tmp_path: Path) -> None:
    invalid = [_event(90, product_id="P9"), "{torn", _event(91, kind="klick")]
    write_jsonl(tmp_path / "events.jsonl", [*(_event(n) for n in range(50)), *invalid, _event(7), _event(8)])
    digests = set()
    for values in ({"num_workers": 2, "split_rows": 10}, {"split_rows": 1000}):
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


def test_too_many_rejected_events_stop_the_job_without_repeated_ones(shop: Lake, tmp_path: Path) -> None:
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
        ({"split_rows": 0}, "split_rows is 0; allowed: 1 or more"),
        ({"num_workers": -1}, "num_workers is -1; allowed: 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(IngestEventsConfig, values)
