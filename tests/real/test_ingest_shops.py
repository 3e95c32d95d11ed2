"""Real catalogs and judged sets through their mappings: every row and every known defect is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intarsia.catalog.clean import CleanLimits
from intarsia.catalog.ingest import CleanedCatalog, clean_catalog, serial_workers, write_products
from intarsia.catalog.mapping import load_mapping
from intarsia.catalog.sources import read_raw_rows
from intarsia.config import build
from intarsia.events.judged_sets import JudgmentsMapping, QueriesMapping, read_judgments, read_queries

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _ingest(folder: Path, file: str, out: Path) -> tuple[CleanedCatalog, dict[str, dict[str, Any]]]:
    """(counts, products by id)."""
    staging, products = out / "staging", out / "products"
    staging.mkdir()
    products.mkdir()
    mapping = load_mapping(EXAMPLES / folder.name / "mapping.yaml")
    cleaned = clean_catalog(folder / file, mapping, folder, CleanLimits(), staging, serial_workers, lambda *_: None)
    write_products(cleaned, staging, products, serial_workers, lambda *_: None)
    rows = pa.concat_tables([pq.read_table(path) for path in sorted(products.iterdir())]).to_pylist()
    return cleaned, {row["product_id"]: row for row in rows}


def test_every_defect_of_newbee_zh_is_reported_and_no_product_dropped(shared_data: Path, tmp_path: Path) -> None:
    cleaned, products = _ingest(shared_data / "newbee_zh", "products.jsonl", tmp_path)
    assert (cleaned.num_rows, len(products), cleaned.dropped.total()) == (572, 572, 0)
    assert cleaned.left_out == {"category_missing": 260, "description_placeholder": 357 + 160 + 20, "image_absent": 10}
    assert cleaned.resolution.num_images == 562
    phone = products["10893"]
    assert (phone["price_minor"], phone["currency"], phone["in_stock"], phone["locale"]) == (539900, "CNY", True, "zh")
    assert phone["description"] == "超曲面OLED环幕屏 8GB+256GB 全网通4G版(星河银)"
    assert products["10289"]["category_path"] == ["家电 数码 手机", "手机", "iPhone"]


def test_variants_html_and_categories_of_magento_luma_are_merged(shared_data: Path, tmp_path: Path) -> None:
    cleaned, products = _ingest(shared_data / "magento_luma", "products.jsonl", tmp_path)
    assert (len(products), cleaned.dropped.total(), cleaned.left_out.total()) == (197, 0, 0)
    hoodie = products["MH01"]
    attributes = dict(hoodie["attributes"])
    assert (attributes["color"], attributes["size"]) == (["Black", "Gray", "Orange"], ["XS", "S", "M", "L", "XL"])
    assert hoodie["category_path"] == ["Men", "Tops", "Hoodies & Sweatshirts"]
    assert [Path(image["source"]).name for image in hoodie["images"]] == [
        "mh01-gray_main.jpg",
        "mh01-gray_alt1.jpg",
        "mh01-gray_back.jpg",
        "mh01-black_main.jpg",
        "mh01-orange_main.jpg",
    ]
    assert (hoodie["price_minor"], hoodie["currency"], hoodie["in_stock"]) == (5200, "USD", True)
    assert products["24-MB04"]["category_path"] == ["Gear", "Bags"]
    assert not any(
        mark in row["description"] for row in products.values() for mark in ("<p>", "<li>", "&bull;", "&nbsp;")
    )


@pytest.mark.parametrize(
    ("name", "queries", "judgments", "splits", "grades"),
    [
        ("fashion15k", {}, {}, {"train": 300, "validation": 100, "test": 100}, {3: 11116, 1: 10021}),
        (
            "crowdflower_search",
            {"file": "judgments.csv", "query_id": None, "text": "query", "split": "hash"},
            {
                "file": "judgments.csv",
                "query_id": None,
                "query_text": "query",
                "product_id": "id",
                "grade": "median_relevance",
                "grades": {"1": 0, "2": 1, "3": 2, "4": 3},
            },
            {"train": 157, "validation": 55, "test": 49},
            {3: 6171, 2: 1737, 1: 1476, 0: 774},
        ),
    ],
)
def test_judged_sets_follow_their_protocols(
    shared_data: Path,
    name: str,
    queries: dict[str, Any],
    judgments: dict[str, Any],
    splits: dict[str, int],
    grades: dict[float, int],
) -> None:
    folder = shared_data / name
    query_mapping = build(QueriesMapping, queries)
    judgment_mapping = build(JudgmentsMapping, judgments)
    query_rows: Any = read_raw_rows(folder / query_mapping.file)
    judged_queries = read_queries(query_rows, query_mapping, folder)
    judgment_rows: Any = read_raw_rows(folder / judgment_mapping.file)
    judged = read_judgments(judgment_rows, judgment_mapping, [query.query_id for query in judged_queries])
    assert Counter(query.split for query in judged_queries) == splits
    assert Counter(judgment.grade for judgment in judged) == grades
