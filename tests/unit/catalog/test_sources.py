from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intarsia.catalog.mapping import FileShape
from intarsia.catalog.rejects import Reason
from intarsia.catalog.sources import UnreadableRow, plan_splits, read_raw_rows, read_split
from intarsia.errors import DataError


def _rows(path: Path, shape: FileShape | None = None, *, split_rows: int = 2) -> list[tuple[int, Any]]:
    """All rows of all splits, as (number, columns or reason)."""
    return [
        (number, value.reason if isinstance(value, UnreadableRow) else dict(value))
        for split in plan_splits(path, shape, split_rows=split_rows)
        for number, value in read_split(split)
    ]


def test_jsonl_lines_are_rows_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\n\n{"a":2}\r\n  \n{"a":3}')
    assert _rows(path) == [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3})]
    assert [(split.first_row, split.num_rows) for split in plan_splits(path, split_rows=2)] == [(1, 2), (3, 1)]


def test_lines_that_are_not_objects_are_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":\n[1]\n{"a":"\xff"}\n' + b"[" * 100_000 + b"\n")
    assert [reason for _, reason in _rows(path)] == [
        Reason.BROKEN_JSON,
        Reason.WRONG_TYPE,
        Reason.NOT_UTF8,
        Reason.BROKEN_JSON,
    ]


def test_csv_fields_may_hold_line_ends_delimiters_and_doubled_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('id, title\r\n1,"5"" pipe,\nlong"\r\n\r\n2,短\n'.encode())
    assert _rows(path) == [(1, {"id": "1", "title": '5" pipe,\nlong'}), (2, {"id": "2", "title": "短"})]


def test_csv_rows_that_do_not_fit_are_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,title\n1\n2,a,b\n3,\xff\n"x"y,4\n5,"never closed\n6,in it')
    assert [value for _, value in _rows(path)] == [
        Reason.WRONG_NUMBER_OF_FIELDS,
        Reason.WRONG_NUMBER_OF_FIELDS,
        Reason.NOT_UTF8,
        Reason.UNCLOSED_QUOTE,
        Reason.UNCLOSED_QUOTE,
    ]


def test_tsv_without_header_and_quotes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_bytes(b'q0\t0\t5" pipe\t1\n')
    shape = FileShape(header=("q", "i", "d", "g"), quote="")
    assert _rows(path, shape) == [(1, {"q": "q0", "i": "0", "d": '5" pipe', "g": "1"})]


def test_other_encodings_and_delimiters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("id;标题\n1;红色\n".encode("gb18030"))
    assert _rows(path, FileShape(encoding="gb18030", delimiter=";")) == [(1, {"id": "1", "标题": "红色"})]


def test_a_quoted_line_end_across_blocks_does_not_end_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intarsia.catalog.sources._BLOCK_BYTES", 3)
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,t\n1,"a\nb\n\nc"\n2,d\n')
    assert _rows(path, split_rows=1) == [(1, {"id": "1", "t": "a\nb\n\nc"}), (2, {"id": "2", "t": "d"})]


def test_parquet_row_groups_are_splits_and_objects_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "o": [{"k": "v"}, None, {"k": "w"}]}), path, row_group_size=2)
    assert [(split.begin, split.first_row, split.num_rows) for split in plan_splits(path)] == [(0, 1, 2), (1, 3, 1)]
    assert _rows(path)[2] == (3, {"id": 3, "o": {"k": "w"}})


def test_a_folder_is_read_in_path_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "a.jsonl", ".hidden.jsonl", "_success.jsonl", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'{{"f":"{name}"}}\n')
    assert [value["f"] for _, value in _rows(tmp_path)] == ["a.jsonl", "b/2.jsonl"]
    assert [split.file for split in plan_splits(tmp_path)] == ["a.jsonl", "b/2.jsonl"]


def test_a_folder_of_two_formats_needs_the_format_setting(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a":1}\n')
    (tmp_path / "b.csv").write_text("a\n2\n")
    with pytest.raises(DataError, match="formats is 'csv, jsonl'; allowed: one format per folder"):
        plan_splits(tmp_path)
    assert _rows(tmp_path, FileShape(format="csv")) == [(1, {"a": "2"})]


def test_unreadable_sources_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"path is .*nothing'; allowed: a file or folder"):
        plan_splits(tmp_path / "nothing")
    with pytest.raises(DataError, match="files is 'none'; allowed: files ending in"):
        plan_splits(tmp_path)
    strange = tmp_path / "a.xlsx"
    strange.write_bytes(b"x")
    with pytest.raises(DataError, match=r"ending is '.xlsx'"):
        plan_splits(strange)
    torn = tmp_path / "a.parquet"
    torn.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="allowed: a whole Parquet file"):
        plan_splits(torn)
    twice = tmp_path / "a.csv"
    twice.write_text("id,id\n1,2\n")
    with pytest.raises(
        DataError, match=r"header is 'id twice'; allowed: each name once. Fix: rename one of the columns"
    ):
        plan_splits(twice)
    twice.write_bytes(b"id,\xff\n1,2\n")
    with pytest.raises(
        DataError, match=r"header is .* allowed: text in utf-8. Fix: save the file in utf-8, or set file.encoding"
    ):
        plan_splits(twice)


def test_an_unknown_ending_is_read_with_the_format_setting(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("id,t\n1,x\n")
    assert next(read_raw_rows(path, FileShape(format="csv"))).value == {"id": "1", "t": "x"}


def test_an_empty_file_has_no_splits(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "a.csv").write_bytes(b"")
    assert plan_splits(tmp_path / "a.jsonl") == plan_splits(tmp_path / "a.csv") == []


def test_damaged_data_of_a_parquet_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [str(number * 7919) for number in range(5000)]}), path)
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(byte ^ 0x5A for byte in content[100:2000])
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet: data is .*allowed: a whole Parquet file\. Fix: write it again"):
        _rows(path)
