"""The job `ingest_judgments`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia.config import build
from intarsia.errors import ConfigError, DataError
from intarsia.ids import ProductId
from intarsia.lake import Lake
from intarsia.records.product import Product
from intarsia.tables.judgments import JUDGMENTS, QUERIES
from intarsia.tables.products import PRODUCTS, product_to_row
from pipelines.ingest_judgments import JOB, IngestJudgmentsConfig, judged_set_files
from pipelines.job import JobProgress
from tests.unit.catalog.shop_files import write_jsonl


@pytest.fixture
def shop(lake: Lake) -> Lake:
    """A lake with one product, 1."""
    with lake.publish("products") as folder:
        row = product_to_row(Product(product_id=ProductId("1"), title="mug"), ())
        PRODUCTS.write_part(PRODUCTS.from_rows([row]), folder, 0)
    return lake


def _config(folder: Path, **values: Any) -> IngestJudgmentsConfig:
    return build(IngestJudgmentsConfig, {"folder": str(folder), **values})


def test_queries_and_judgments_are_published_and_missing_products_counted(shop: Lake, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "queries.jsonl", [{"query_id": f"q{n}", "text": "mug", "split": "test"} for n in (2, 1)])
    (tmp_path / "judgments.tsv").write_text("query_id\tproduct_id\tgain\nq2\t9\t1\nq1\t1\t3\n")
    counts = JOB.run(_config(tmp_path), shop, JobProgress("test"))
    assert (counts["queries"], counts["judgments"], counts["of products not in the catalog"]) == (2, 2, 1)
    assert QUERIES.read(shop.current("queries")).column("query_id").to_pylist() == ["q1", "q2"]
    assert JUDGMENTS.read(shop.current("judgments")).to_pylist()[1] == {
        "query_id": "q2",
        "product_id": "9",
        "grade": 1.0,
        "source": "editorial",
        "weight": 1.0,
    }


def test_one_csv_can_have_queries_products_and_grades(shop: Lake, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("id,query,title,rel\n1,Red Mug,mug,4\n2,red mug,cup,1\n3,rug,rug,2\n")
    config = _config(
        tmp_path,
        queries={"file": "all.csv", "query_id": None, "text": "query", "split": "hash"},
        judgments={
            "file": "all.csv",
            "query_id": None,
            "query_text": "query",
            "product_id": "id",
            "grade": "rel",
            "grades": {"1": 0, "2": 1, "4": 3},
        },
    )
    with pytest.raises(DataError, match=r"row 2: query_id is .* allowed: one query per id"):
        JOB.run(config, shop, JobProgress("test"))  # the same words in another case are the same query
    (tmp_path / "all.csv").write_text("id,query,title,rel\n1,red mug,mug,4\n2,red mug,cup,1\n3,rug,rug,2\n")
    counts = JOB.run(config, shop, JobProgress("test"))
    assert (counts["queries"], counts["judgments"], counts["by grade"]) == (2, 3, {"0": 1, "1": 1, "3": 1})


def test_an_unreadable_row_stops_the_job(shop: Lake, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "queries.jsonl", ["{torn"])
    with pytest.raises(DataError, match=r"queries.jsonl row 1: row is '{torn'; allowed: a readable row"):
        JOB.run(_config(tmp_path), shop, JobProgress("test"))


def test_the_whole_folder_is_input_if_queries_have_images(tmp_path: Path) -> None:
    assert judged_set_files(_config(tmp_path)) == [tmp_path]
    both = _config(tmp_path, queries={"image": None})
    assert judged_set_files(both) == [tmp_path / "judgments.tsv", tmp_path / "queries.jsonl"]
    assert (
        judged_set_files(_config(tmp_path, has_files=False, known_items={}))
        == judged_set_files(IngestJudgmentsConfig())
        == []
    )


def test_neither_files_nor_known_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has_files is false and known_items is not given; allowed: judged files"):
        _config(tmp_path, has_files=False)
