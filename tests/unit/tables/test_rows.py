"""For every table: record -> row -> Parquet -> row -> record is the identity."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.ids import EventId, ProductId, ReleaseId, RequestId
from intarsia.lake import Lake
from intarsia.records.event import Event
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.records.product import Product
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS
from intarsia.tables.events import EVENTS, event_to_row, row_to_event
from intarsia.tables.judgments import (
    JUDGMENTS,
    QUERIES,
    judgment_to_row,
    query_to_row,
    row_to_judgment,
    row_to_query,
)
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, product_to_row, row_to_product
from intarsia.tables.schema import TableSpec
from intarsia.tables.training_rows import KEY_COLUMNS, training_rows_spec
from tests.strategies import events, judged_queries, judgments, products


def written_and_read(spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        with lake.publish(spec.name) as entry_folder:
            spec.write_part(spec.from_rows(rows), entry_folder, 0)
        read_rows: list[dict[str, Any]] = spec.read(lake.current(spec.name)).to_pylist()
    return read_rows


@given(st.lists(products(), max_size=3))
def test_products_come_back_with_their_images(catalog: list[Product]) -> None:
    contents = [tuple(f"{p.product_id} {n}".encode() for n in range(len(p.images))) for p in catalog]
    rows = [product_to_row(p, content) for p, content in zip(catalog, contents, strict=True)]
    products_read = [row_to_product(row) for row in written_and_read(PRODUCTS, rows)]
    assert [product for product, _ in products_read] == catalog
    assert [content for _, content in products_read] == contents


@given(products())
def test_a_product_can_be_read_without_its_images(product: Product) -> None:
    row = product_to_row(product, [b"x"] * len(product.images))
    without = {name: row[name] for name in COLUMNS_WITHOUT_IMAGE_BYTES}
    assert row_to_product(without) == (replace(product, images=()), ())


@given(st.lists(events(), max_size=3))
def test_events_come_back(drawn: list[Event]) -> None:
    assert [row_to_event(row) for row in written_and_read(EVENTS, [event_to_row(e) for e in drawn])] == drawn


@given(st.lists(judged_queries(), max_size=3))
def test_judged_queries_come_back(drawn: list[JudgedQuery]) -> None:
    assert [row_to_query(row) for row in written_and_read(QUERIES, [query_to_row(q) for q in drawn])] == drawn


@given(st.lists(judgments(), max_size=3))
def test_judgments_come_back(drawn: list[Judgment]) -> None:
    rows = written_and_read(JUDGMENTS, [judgment_to_row(j) for j in drawn])
    assert [row_to_judgment(row) for row in rows] == drawn


@given(products())
def test_attributes_are_written_in_sorted_order(product: Product) -> None:
    backwards = replace(product, attributes=dict(reversed(product.attributes.items())))
    content = [b""] * len(product.images)
    assert product_to_row(backwards, content) == product_to_row(product, content)


def test_an_image_without_bytes_is_asserted() -> None:
    with pytest.raises(AssertionError):
        product_to_row(Product(product_id=ProductId("p1"), title="x"), [b"too many"])


def test_times_are_stored_in_utc() -> None:
    beijing = datetime(2026, 1, 1, 8, 0, 0, 123456, tzinfo=timezone(timedelta(hours=8)))
    event = Event(
        event_id=EventId("e"),
        request_id=RequestId("q"),
        release_id=ReleaseId("r"),
        kind="click",
        product_id=ProductId("p"),
        occurred_at=beijing,
        received_at=beijing,
    )
    [row] = written_and_read(EVENTS, [event_to_row(event)])
    assert row["occurred_at"] == datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert row["occurred_at"].utcoffset() == timedelta(0)


def test_vectors_keep_their_bits_and_their_space() -> None:
    row = {"product_id": "p", "view": 0, "content_sha256": "c", "space_id": "s", "vector": [0.25, -0.0, 2.0**-149]}
    for spec in (TEXT_EMBEDDINGS, IMAGE_EMBEDDINGS):
        [read_row] = written_and_read(spec, [row])
        assert read_row == row
        assert str(read_row["vector"][1]) == "-0.0"


def test_training_rows_have_their_keys_then_the_features_in_order() -> None:
    spec = training_rows_spec(["b", "a"])
    assert tuple(spec.schema.names) == (*KEY_COLUMNS, "b", "a")
    assert all(spec.schema.field(name).type == pa.float32() for name in ("a", "b"))
    row = {"query_id": "q", "split": "train", "product_id": "p", "label": 2, "weight": 1.0, "a": float("nan"), "b": 1.0}
    [read_row] = written_and_read(spec, [row])
    assert np.isnan(read_row["a"])  # missing stays NaN, never null
    assert read_row["b"] == 1.0
