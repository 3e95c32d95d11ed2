"""The three demo queries of `--once`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from intarsia.errors import ArtifactError
from intarsia.ids import QueryId
from intarsia.lake import Lake
from intarsia.records.judgment import JudgedQuery
from intarsia.release.pointer import Pointer
from intarsia.tables.judgments import QUERIES, query_to_row
from serve_apps.demo_queries import DemoQuery, demo_queries, run_demo_query
from tests.serve.conftest import Graph
from tests.shop import make_image


def live_folder(lake: Lake) -> Path:
    return Pointer(lake.root / "releases").live_folder()


def test_without_judged_queries_they_come_from_the_catalog(shop: Lake) -> None:
    zh, en, image = demo_queries(shop, live_folder(shop))
    assert "青竹" in zh.body["text"]
    assert en.body["text"].isascii()
    assert set(image.body) == {"image_base64"}


def test_judged_test_queries_are_preferred(shop: Lake, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    shutil.copytree(shop.root, lake.root)
    judged = [
        JudgedQuery(query_id=QueryId("a"), text="not this", image=None, locale="en", split="train"),
        JudgedQuery(query_id=QueryId("b"), text="blue mug", image=None, locale="en", split="test"),
        JudgedQuery(query_id=QueryId("c"), text="蓝色 马克杯", image=None, locale="zh", split="test"),
        JudgedQuery(query_id=QueryId("d"), text=None, image=make_image("mug", "blue"), locale="en", split="test"),
    ]
    with lake.publish("queries") as folder:
        QUERIES.write_part(QUERIES.from_rows([query_to_row(query) for query in judged]), folder, 0)
    names = [query.name for query in demo_queries(lake, live_folder(lake))]
    assert names == ['"蓝色 马克杯"', '"blue mug"', "an image (judged query d)"]


def test_a_page_is_printed_in_lines_and_an_error_raised(graph: Graph) -> None:
    url = str(graph.fused.base_url).rstrip("/")
    lines = run_demo_query(url, DemoQuery(name="mugs", body={"text": "green mug"})).splitlines()
    assert lines[0].startswith("mugs  ->  ")
    assert lines[1].startswith("  1. Acorn green mug")
    assert " USD " in lines[1] or "without a price" in lines[1]
    with pytest.raises(ArtifactError, match=r"nothing: HTTP 422, .*give words"):
        run_demo_query(url, DemoQuery(name="nothing", body={}))
