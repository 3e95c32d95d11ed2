"""The log of served requests returns what was written bit by bit, and nothing of a damaged end."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.errors import DataError
from intarsia.ids import ProductId, ReleaseId
from intarsia.records.query import Query
from intarsia.records.served import IMAGE_NOT_STORED, ServedRequest
from intarsia.tables.segments import SegmentWriter, encode_line
from intarsia.tables.served_requests import SERVED_LOG_VERSION, read_served, row_to_served, served_to_row
from tests.strategies import ids, queries, unit_vectors


def without_image(query: Query) -> Query:
    return replace(query, image=None if query.image is None else IMAGE_NOT_STORED)


def served_requests() -> st.SearchStrategy[ServedRequest]:
    return st.builds(
        ServedRequest,
        query=queries().map(without_image),
        release_id=ids("r").map(ReleaseId),
        vectors=st.dictionaries(st.sampled_from(("text", "image")), unit_vectors()),
        shown=st.lists(st.tuples(st.integers(1, 10**6), ids("p").map(ProductId)), max_size=4).map(tuple),
        digest=st.just(b"") | st.binary(min_size=8, max_size=8),
        degraded=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=2).map(tuple),
    )


def assert_same(actual: ServedRequest, expected: ServedRequest) -> None:
    for field in fields(ServedRequest):
        if field.name != "vectors":
            assert getattr(actual, field.name) == getattr(expected, field.name)
    assert list(actual.vectors) == list(expected.vectors)
    for name, vector in expected.vectors.items():
        assert actual.vectors[name].space_id == vector.space_id
        assert actual.vectors[name].values_D.dtype == np.float32
        assert actual.vectors[name].values_D.tobytes() == vector.values_D.tobytes()


@given(served_requests())
def test_record_to_row_to_json_to_record_is_the_identity(served: ServedRequest) -> None:
    assert_same(row_to_served(json.loads(json.dumps(served_to_row(served)))), served)


@given(st.lists(served_requests(), max_size=3), st.data())
def test_a_log_cut_at_any_byte_yields_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, log: list[ServedRequest], data: st.DataObject
) -> None:
    lines = [encode_line(served_to_row(served)) for served in log]
    writer = SegmentWriter(tmp_path_factory.mktemp("served"))
    writer.append(b"".join(lines))
    writer.close()
    cut = data.draw(st.integers(0, sum(map(len, lines))))
    writer.path.write_bytes(writer.path.read_bytes()[:cut])
    ends = np.cumsum([len(line) for line in lines])
    requests = list(read_served(writer.path.parent))
    assert len(requests) == int((ends <= cut).sum())
    for request, expected in zip(requests, log, strict=False):
        assert_same(request, expected)


@given(served_requests())
def test_a_row_of_another_version_is_refused(served: ServedRequest) -> None:
    row = served_to_row(served) | {"version": SERVED_LOG_VERSION + 1}
    with pytest.raises(DataError, match=r"served requests: version is 2; allowed: 1\. Fix: read the log with"):
        row_to_served(row)


def test_a_folder_without_a_log_holds_no_requests(tmp_path: Path) -> None:
    assert list(read_served(tmp_path / "none")) == []
