from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intarsia.catalog.clean import CleanLimits
from intarsia.catalog.ingest import (
    CleanedCatalog,
    Workers,
    clean_catalog,
    serial_workers,
    write_products,
    write_rejects,
)
from intarsia.errors import DataError
from intarsia.ids import sha256_tree
from tests.unit.catalog.shop_files import SHOP_MAPPING, mapping, put_images, put_shop, shop_rows, write_jsonl


def _ingest(
    source: Path, out: Path, *, workers: Workers = serial_workers, split_rows: int = 4, **rules: Any
) -> tuple[CleanedCatalog, list[dict[str, Any]], list[dict[str, Any]]]:
    """(counts, rows of products, rows of rejected_products)."""
    staging, products, rejects = (out / name for name in ("scratch", "products", "rejects"))
    for folder in (staging, products, rejects):
        folder.mkdir(parents=True)
    steps: list[tuple[str, int, int]] = []
    cleaned = clean_catalog(
        source,
        mapping(**{**SHOP_MAPPING, **rules}),
        source.parent,
        CleanLimits(),
        staging,
        workers,
        lambda *progress: steps.append(progress),
        split_rows=split_rows,
    )
    num_rejects = write_rejects(cleaned, staging, rejects)
    num_products = write_products(cleaned, staging, products, workers, lambda *progress: steps.append(progress))
    rows = pa.concat_tables([pq.read_table(path) for path in sorted(products.iterdir())]).to_pylist()
    rejected = pa.concat_tables([pq.read_table(path) for path in sorted(rejects.iterdir())]).to_pylist()
    assert (len(rows), len(rejected)) == (num_products, num_rejects)
    assert num_products + cleaned.dropped.total() == cleaned.num_rows
    assert ("clean", cleaned.num_rows, cleaned.num_rows) in steps
    return cleaned, rows, rejected


def _backwards(open_worker: Callable[[], Callable[[Any], Any]], pieces: Sequence[Any]) -> Iterator[Any]:
    """Workers that process the items from the end, with a new worker for each."""
    for piece in reversed(pieces):
        yield open_worker()(piece)


def test_products_are_sorted_by_id_and_every_row_is_counted(tmp_path: Path) -> None:
    more = [shop_rows(20)[3] | {"title": "again"}, "{torn", {"id": "P999", "title": ""}, b"\xff\xfe"]
    source = put_shop(tmp_path / "shop", 20, more=more)
    cleaned, rows, rejected = _ingest(source, tmp_path / "out")
    assert [row["product_id"] for row in rows] == sorted(row["id"] for row in shop_rows(20))
    assert (cleaned.num_rows, len(rows), dict(cleaned.dropped)) == (
        24,
        20,
        {"duplicate_id": 1, "broken_json": 1, "title_missing": 1, "not_utf8": 1},
    )
    assert [(r["row"], r["reason"], r["dropped"]) for r in rejected] == [
        (21, "duplicate_id", True),
        (22, "broken_json", True),
        (23, "title_missing", True),
        (24, "not_utf8", True),
    ]
    assert rejected[0]["found"] == "P001, also in products.jsonl row 4"


def test_the_first_row_of_an_id_is_kept_across_splits(tmp_path: Path) -> None:
    rows = [{"id": "B", "title": f"title {n}"} for n in range(9)]
    source = write_jsonl(tmp_path / "products.jsonl", rows)
    _, products, rejected = _ingest(source, tmp_path / "out", images=None, category=None)
    assert [row["title"] for row in products] == ["title 0"]
    assert [row["row"] for row in rejected] == list(range(2, 10))


def test_brands_are_unified_over_the_whole_catalog(tmp_path: Path) -> None:
    _, rows, _ = _ingest(put_shop(tmp_path / "shop", 12), tmp_path / "out")
    assert {row["brand"] for row in rows} == {"Nike", "Adidas"}


def test_near_duplicates_have_the_id_of_their_group(tmp_path: Path) -> None:
    duplicate = {key: value for key, value in shop_rows(8)[2].items() if key != "pictures"} | {"id": "A"}
    _, rows, _ = _ingest(put_shop(tmp_path / "shop", 8, more=[duplicate]), tmp_path / "out")
    assert {row["product_id"]: row["duplicate_group"] for row in rows if row["duplicate_group"]} == {
        "A": "A",
        "P006": "A",
    }


def test_an_image_that_many_products_share_is_a_placeholder(tmp_path: Path) -> None:
    shared = [row | {"pictures": ["0.png", f"{n}.png"]} for n, row in enumerate(shop_rows(6))]
    put_shop(tmp_path / "shop", 6)
    source = write_jsonl(tmp_path / "shop" / "products.jsonl", shared)
    rules = {"images": {"columns": "pictures", "placeholder_min_products": 4}}
    cleaned, rows, rejected = _ingest(source, tmp_path / "out", **rules)
    assert sorted(len(row["images"]) for row in rows) == [0, 1, 1, 1, 1, 1]
    assert cleaned.left_out == {"image_placeholder": 6}
    assert cleaned.resolution.num_images == 5
    assert all("shared by 6 products" in reject["found"] for reject in rejected)


def test_the_output_does_not_depend_on_the_order_of_work(tmp_path: Path) -> None:
    source = put_shop(tmp_path / "shop", 30, more=["{torn", shop_rows(30)[0]])
    for name, workers in (("a", serial_workers), ("b", _backwards)):
        _ingest(source, tmp_path / name, workers=workers)
    for table in ("products", "rejects"):
        assert sha256_tree(tmp_path / "a" / table) == sha256_tree(tmp_path / "b" / table)


def test_the_result_does_not_depend_on_the_splits(tmp_path: Path) -> None:
    source = put_shop(tmp_path / "shop", 30, more=["{torn", shop_rows(30)[0]])
    outcomes = [_ingest(source, tmp_path / str(split_rows), split_rows=split_rows)[1:] for split_rows in (1, 7, 1000)]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_parts_are_limited_by_rows_and_by_image_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put_shop(tmp_path / "shop", 10)
    monkeypatch.setattr("intarsia.catalog.resolve._PART_ROWS", 4)
    by_rows, rows, _ = _ingest(source, tmp_path / "rows")
    assert [len(part.rows) for part in by_rows.resolution.parts] == [4, 4, 2]
    monkeypatch.setattr("intarsia.catalog.resolve._PART_BYTES", 1)
    by_bytes, same_rows, _ = _ingest(source, tmp_path / "bytes")
    assert [len(part.rows) for part in by_bytes.resolution.parts] == [1] * 10
    assert rows == same_rows


def test_rejects_are_written_in_parts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.catalog.ingest._REJECTS_PER_PART", 3)
    source = write_jsonl(tmp_path / "products.jsonl", ["{torn"] * 8)
    _, rows, rejected = _ingest(source, tmp_path / "out", split_rows=2)
    assert (rows, [reject["row"] for reject in rejected]) == ([], list(range(1, 9)))
    assert len(list((tmp_path / "out" / "rejects").iterdir())) == 2


def test_large_images_are_flushed_before_the_split_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.catalog.staging._FLUSH_BYTES", 1)
    _, rows, _ = _ingest(put_shop(tmp_path / "shop", 10), tmp_path / "out", split_rows=100)
    assert [len(row["images"]) for row in rows] == [1] * 10


def test_csv_files_in_a_folder_give_the_same_rows_as_jsonl(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    put_shop(folder, 6)
    _, expected, _ = _ingest(folder / "products.jsonl", tmp_path / "jsonl")
    lines = ["id,title,text,brand,path,price,pictures,colour"]
    for row in shop_rows(6):
        lines.append(",".join(f'"{value[0] if isinstance(value, list) else value}"' for value in row.values()))
    (folder / "csv").mkdir()
    (folder / "csv" / "1.csv").write_text("\n".join(lines[:4]) + "\n")
    (folder / "csv" / "2.csv").write_text("\n".join([lines[0], *lines[4:]]) + "\n")
    _, rows, _ = _ingest(folder / "csv", tmp_path / "csv")
    assert rows == expected


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "products.jsonl", [])
    with pytest.raises(DataError, match="rows is 0; allowed: 1 or more"):
        _ingest(source, tmp_path / "out")


def test_images_in_subfolders_of_the_root_are_read(tmp_path: Path) -> None:
    put_images(tmp_path / "shop" / "a" / "b", {"x.png": b"not a picture"})
    source = write_jsonl(tmp_path / "shop" / "p.jsonl", [{"id": "1", "title": "t", "pictures": "b/x.png"}])
    cleaned, _, _ = _ingest(source, tmp_path / "out", images={"columns": "pictures", "root": "a"}, category=None)
    assert cleaned.left_out == {"image_unreadable": 1}
