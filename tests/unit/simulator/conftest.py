"""One small market for all tests of this folder; a test that needs other settings makes its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from intarsia.simulator.config import MarketConfig
from intarsia.simulator.market import MarketSummary, write_market

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Market:
    config: MarketConfig
    folder: Path
    summary: MarketSummary

    def rows(self, name: str) -> Rows:
        return [json.loads(line) for line in (self.folder / name).read_bytes().splitlines()]

    def raw_lines(self, name: str) -> list[bytes]:
        return (self.folder / name).read_bytes().removesuffix(b"\n").split(b"\n")

    @cached_property
    def truth(self) -> dict[str, dict[str, Any]]:
        return {row["product_id"]: row for row in self.rows("truth_products.jsonl")}

    @cached_property
    def queries(self) -> Rows:
        return self.rows("queries.jsonl")

    @cached_property
    def judgments(self) -> dict[tuple[str, str], int]:
        lines = (self.folder / "judgments.tsv").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "query_id\tproduct_id\tgain"
        return {(q, p): int(g) for q, p, g in (line.split("\t") for line in lines[1:])}

    @cached_property
    def defects(self) -> dict[int, str]:
        """Line of products.jsonl -> kind."""
        return {d["line"]: d["kind"] for d in self.rows("defects.jsonl") if d["file"] == "products.jsonl"}

    @cached_property
    def valid_rows(self) -> Rows:
        lines = self.raw_lines("products.jsonl")
        return [json.loads(line) for number, line in enumerate(lines, start=1) if number not in self.defects]


def make(folder: Path, **settings: Any) -> Market:
    config = MarketConfig(**{"num_products": 700, "num_queries": 100, "num_sessions": 0, "image_px": 32, **settings})
    return Market(config, folder, write_market(config, folder))


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return make(tmp_path_factory.mktemp("market"), num_sessions=2500, share_bad_image=0.04)


@pytest.fixture
def make_market(tmp_path: Path) -> Callable[..., Market]:
    """Makes small markets with the given settings, each in its own folder; without events by default."""
    return lambda name="market", **settings: make(tmp_path / name, **settings)
