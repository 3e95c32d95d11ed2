"""Relevance judgments and the queries that were judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from intarsia.ids import ProductId, QueryId

Split = Literal["train", "validation", "test"]
QueryKind = Literal["text", "image", "both"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """Grade 0..3 of a product for a query; its gain in a metric is 2**grade - 1 unless the data set defines another."""

    query_id: QueryId
    product_id: ProductId
    grade: float
    source: Literal["editorial", "click"] = "editorial"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.grade <= 3:
            raise ValueError(f"grade is {self.grade}; allowed: 0..3")
        if not self.weight > 0:  # nan too
            raise ValueError(f"weight is {self.weight}; allowed: above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedQuery:
    """A query of the judged set with its split; `image` holds the bytes of an image file."""

    query_id: QueryId
    text: str | None
    image: bytes | None
    locale: str
    split: Split

    def __post_init__(self) -> None:
        if not (self.text or self.image):
            raise ValueError(f"query {self.query_id} has neither text nor image")
        if self.split not in SPLITS:
            raise ValueError(f"split of query {self.query_id} is {self.split!r}; allowed: {', '.join(SPLITS)}")

    @property
    def kind(self) -> QueryKind:
        """The parts that the query has."""
        return "both" if self.text and self.image else "text" if self.text else "image"
