"""The job ingest_catalog on a small shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia.config import build
from intarsia.errors import ConfigError, DataError
from intarsia.lake import Lake
from intarsia.tables.products import PRODUCTS, REJECTED_PRODUCTS
from pipelines.ingest_catalog import JOB, IngestCatalogConfig
from pipelines.job import JobProgress, run_job
from tests.unit.catalog.shop_files import put_shop, shop_rows, write_jsonl

pytestmark = pytest.mark.usefixtures("cluster")

_MAPPING = """
product_id: id
title: title
description: text
brand: brand
category: {columns: path, separator: ">"}
price: {column: price, currency: USD}
images: {columns: pictures}
attributes: {colour: colour}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Forty products with images, three invalid rows, and a mapping next to their folder."""
    put_shop(tmp_path / "shop", 40, more=["{torn", shop_rows(40)[0], {"id": "X", "title": ""}])
    (tmp_path / "mapping.yaml").write_text(_MAPPING)
    return tmp_path / "shop"


def _config(shop: Path, **values: Any) -> IngestCatalogConfig:
    return build(
        IngestCatalogConfig,
        {"mapping": str(shop.parent / "mapping.yaml"), "folder": str(shop), "max_rejected_share": 0.1, "split_rows": 8}
        | values,
    )


def test_every_row_is_counted_and_the_bytes_do_not_depend_on_the_workers(shop: Path, tmp_path: Path) -> None:
    lakes = []
    for num_workers, split_rows in (
        (2, 8),
        (3, 8),
        (1, 1000),
    ):  # the last one has a single work item, which needs no Ray
        lake = Lake(tmp_path / f"lake{len(lakes)}")
        counts = JOB.run(_config(shop, num_workers=num_workers, split_rows=split_rows), lake, JobProgress("test"))
        assert counts["products"] + counts["dropped"] == counts["rows"] == 43
        assert counts["dropped by reason"] == {"broken_json": 1, "duplicate_id": 1, "title_missing": 1}
        lakes.append(lake)
    for name in ("products", "rejected_products"):
        assert len({lake.current(name).digest for lake in lakes}) == 1
    products = PRODUCTS.read(lakes[0].current("products"))
    assert products.column("product_id").to_pylist() == sorted(row["id"] for row in shop_rows(40))
    assert [len(images) for images in products.column("images").to_pylist()] == [1] * 40
    assert sorted(path.name for path in lakes[0].current("products").path.iterdir()) == ["part-00000.parquet"]


def test_too_many_dropped_rows_stop_the_job_and_keep_the_old_products(shop: Path, lake: Lake) -> None:
    JOB.run(_config(shop, split_rows=1000), lake, JobProgress("test"))
    before = lake.current("products")
    write_jsonl(shop / "products.jsonl", [*shop_rows(40), *["{torn"] * 20])
    with pytest.raises(DataError, match=r"20 of 60 \(33.3%\), most of them broken_json \(20\)") as caught:
        JOB.run(_config(shop, split_rows=1000), lake, JobProgress("test"))
    assert lake.current("products") == before
    rejected = lake.current("rejected_products")
    assert str(rejected.path) in str(caught.value)
    assert REJECTED_PRODUCTS.read(rejected).column("row").to_pylist() == list(range(41, 61))


def test_the_job_runs_again_when_an_image_has_changed(
    shop: Path, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(shop, split_rows=1000)
    assert run_job(JOB, config, lake)
    assert not run_job(JOB, config, lake)
    (shop / "3.png").write_bytes(b"gone")
    assert run_job(JOB, config, lake)
    assert "left out by reason {'image_unreadable': 1}" in capsys.readouterr().out


def test_a_missing_joined_file_is_a_data_error(shop: Path, lake: Lake) -> None:
    (shop.parent / "mapping.yaml").write_text(_MAPPING + "merge: [{file: titles.csv, key: id, columns: [title]}]\n")
    with pytest.raises(DataError, match=r"titles.csv'; allowed: a file or folder"):
        JOB.run(_config(shop), lake, JobProgress("test"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_rejected_share": 1.5}, "max_rejected_share is 1.5; allowed: 0 to 1"),
        ({"split_rows": 0}, "split_rows is 0; allowed: 1 or more"),
        ({"num_workers": -1}, "num_workers is -1; allowed: 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _config(tmp_path / "shop", **values)
