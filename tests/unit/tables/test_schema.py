from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from intarsia.errors import ArtifactError
from intarsia.ids import sha256_file
from intarsia.lake import Entry, Lake
from intarsia.tables.schema import TableSpec

NUMBERS = TableSpec(
    name="numbers", version=2, schema=pa.schema([("key", pa.string()), ("n", pa.int64()), ("xs", pa.list_(pa.int32()))])
)


def published(lake: Lake, parts: Sequence[Sequence[dict[str, Any]]], spec: TableSpec = NUMBERS) -> Entry:
    with lake.publish(spec.name) as folder:
        for number, rows in enumerate(parts):
            spec.write_part(spec.from_rows(rows), folder, number)
    return lake.current(spec.name)


def row(n: int) -> dict[str, Any]:
    return {"key": f"k{n}", "n": n, "xs": list(range(n % 4))}


def test_rows_come_back_in_the_order_of_the_parts(lake: Lake) -> None:
    entry = published(lake, [[row(3), row(1)], [], [row(2)]])
    assert NUMBERS.read(entry).to_pylist() == [row(3), row(1), row(2)]
    assert NUMBERS.read(entry).schema == NUMBERS.schema
    assert NUMBERS.read(entry).schema.metadata is None


def test_a_missing_value_is_null() -> None:
    assert NUMBERS.from_rows([{"key": "a"}]).to_pylist() == [{"key": "a", "n": None, "xs": None}]


def test_a_table_without_parts_is_an_empty_table(lake: Lake) -> None:
    entry = published(lake, [])
    assert NUMBERS.read(entry).schema == NUMBERS.schema
    assert NUMBERS.read(entry).num_rows == 0
    assert NUMBERS.read(entry, columns=["n"]).schema.names == ["n"]
    assert list(NUMBERS.batches(entry)) == []


@pytest.mark.parametrize(("num_rows", "num_parts"), [(0, 1), (1, 1), (100_000, 1), (100_001, 2)])
def test_a_table_in_memory_is_published_in_parts(lake: Lake, num_rows: int, num_parts: int) -> None:
    table = pa.table({"key": pa.nulls(num_rows, pa.string()), "n": range(num_rows), "xs": pa.nulls(num_rows)})
    NUMBERS.publish(lake, table)
    entry = lake.current("numbers")
    assert len(NUMBERS.parts(entry)) == num_parts
    assert NUMBERS.read(entry)["n"].to_pylist() == list(range(num_rows))


def test_columns_are_read_in_the_requested_order(lake: Lake) -> None:
    entry = published(lake, [[row(3)]])
    assert NUMBERS.read(entry, columns=["xs", "key"]).to_pylist() == [{"xs": [0, 1, 2], "key": "k3"}]
    [batch] = NUMBERS.batches(entry, columns=["n"])
    assert batch.to_pylist() == [{"n": 3}]


def test_batches_concatenate_to_the_table(lake: Lake) -> None:
    rows = [row(n) for n in range(2500)]  # more than two row groups
    entry = published(lake, [rows[:2100], rows[2100:]])
    batches = list(NUMBERS.batches(entry, num_rows=100))
    assert max(batch.num_rows for batch in batches) <= 100
    assert [record for batch in batches for record in batch.to_pylist()] == rows


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        NUMBERS.write_part(NUMBERS.from_rows([row(n) for n in range(50)]), folder, 7)
    first, second = (sha256_file(folder / "part-00007.parquet") for folder in folders)
    assert first == second


def test_values_that_fit_are_cast_and_others_are_refused(tmp_path: Path) -> None:
    small = pa.table({"key": ["a"], "n": pa.array([1], pa.int32()), "xs": pa.array([[1]], pa.list_(pa.int64()))})
    path = NUMBERS.write_part(small, tmp_path, 0)
    assert path.name == "part-00000.parquet"
    broken = pa.table({"key": ["a"], "n": ["x"], "xs": pa.array([[1]], pa.list_(pa.int32()))})
    with pytest.raises(pa.ArrowInvalid, match="Failed to parse string: 'x'"):
        NUMBERS.write_part(broken, tmp_path, 1)


@pytest.mark.parametrize(
    ("written_spec", "version"),
    [
        (TableSpec(name="numbers", version=1, schema=NUMBERS.schema), "numbers/1"),
        (TableSpec(name="letters", version=2, schema=NUMBERS.schema), "letters/2"),
    ],
)
def test_a_part_of_another_version_or_table_is_refused(lake: Lake, written_spec: TableSpec, version: str) -> None:
    entry = published(lake, [[row(1)]], written_spec)
    message = rf"part-00000\.parquet holds {version}; this code reads numbers/2\. Fix: run the job that writes it again"
    with pytest.raises(ArtifactError, match=message):
        NUMBERS.read(entry)
    with pytest.raises(ArtifactError, match=message):
        list(NUMBERS.batches(entry))


def test_a_parquet_file_that_another_tool_wrote_is_refused(lake: Lake) -> None:
    import pyarrow.parquet as pq

    with lake.publish("numbers") as folder:
        pq.write_table(NUMBERS.from_rows([row(1)]), folder / "part-00000.parquet")
    with pytest.raises(ArtifactError, match="holds none; this code reads numbers/2"):
        NUMBERS.parts(lake.current("numbers"))
