from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from intarsia.ids import ProductId, RequestId, SpaceId
from intarsia.records.query import Filters, Query, QueryVector

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def query(**changes: Any) -> Query:
    return Query(**{"request_id": RequestId("q1"), "asked_at": NOW, "text": "shoe", **changes})


@pytest.mark.parametrize(
    "changes", [{"text": "shoe"}, {"image": b"x"}, {"seed_product_ids": (ProductId("p1"),)}, {"user_id": "u1"}]
)
def test_one_part_is_enough_for_a_query(changes: dict[str, Any]) -> None:
    assert query(**{"text": None, **changes}).limit == 10


@pytest.mark.parametrize("changes", [{}, {"text": ""}, {"image": b""}, {"user_id": ""}, {"session_id": "s1"}])
def test_a_query_without_any_part_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a query needs at least one of text, image, seed_product_ids, user_id"):
        query(**{"text": None, **changes})


def test_a_query_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="asked_at has no time zone; allowed: UTC"):
        query(asked_at=datetime(2026, 1, 1))


@pytest.mark.parametrize(("offset", "limit"), [(-1, 10), (0, 0), (0, -5)])
def test_an_invalid_page_is_refused(offset: int, limit: int) -> None:
    with pytest.raises(ValueError, match=rf"offset is {offset} and limit {limit}; allowed: 0 or more, 1 or more"):
        query(offset=offset, limit=limit)


def test_an_empty_price_range_is_refused() -> None:
    with pytest.raises(ValueError, match="price_min 200 is above price_max 100"):
        Filters(price_min=200, price_max=100)
    assert Filters(price_min=100, price_max=100).price_min == 100


def test_a_filter_without_conditions_is_empty() -> None:
    assert Filters().is_empty
    conditions: list[dict[str, Any]] = [
        {"category": ("a",)},
        {"brands": ("a",)},
        {"price_min": 0},
        {"price_max": 0},
        {"attributes": {"colour": ("red",)}},
        {"in_stock": False},
        {"exclude": (ProductId("p1"),)},
    ]
    assert {name for condition in conditions for name in condition} == set(Filters.__dataclass_fields__)
    assert not any(Filters(**condition).is_empty for condition in conditions)


def test_a_query_vector_is_float32_of_one_dimension_and_read_only() -> None:
    vector = QueryVector(space_id=SpaceId("s"), values_D=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        vector.values_D[0] = 2.0
    for values in (np.ones((1, 3), np.float32), np.ones(3, np.float64)):
        with pytest.raises(AssertionError):
            QueryVector(space_id=SpaceId("s"), values_D=values)
