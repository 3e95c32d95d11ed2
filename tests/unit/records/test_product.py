from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest

from intarsia.ids import ProductId
from intarsia.records.product import Money, Product


def test_missing_values_are_empty() -> None:
    product = Product(product_id=ProductId("p1"), title="Red shoe")
    assert (product.description, product.brand, product.category_path, product.images) == ("", "", (), ())
    assert (product.price, product.in_stock, product.updated_at) == (None, None, None)
    assert product.attributes == {}


def test_a_free_product_has_a_price() -> None:
    assert Money(minor_units=0, currency="CNY").minor_units == 0


def test_a_price_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"minor_units is -199; allowed: 0 or more"):
        Money(minor_units=-199, currency="USD")


@pytest.mark.parametrize("currency", ["", "US", "usd", "USDT", "U2D", "ÄÖÜ", "US ", "USD\n"])
def test_a_currency_is_three_capitals(currency: str) -> None:
    with pytest.raises(ValueError, match=r"currency is .*; allowed: three capitals of ISO 4217"):
        Money(minor_units=1, currency=currency)


def test_a_product_without_id_or_title_is_refused() -> None:
    with pytest.raises(ValueError, match="product_id is empty"):
        Product(product_id=ProductId(""), title="Red shoe")
    with pytest.raises(ValueError, match="product p1 has an empty title"):
        Product(product_id=ProductId("p1"), title="")


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="updated_at of product p1 has no time zone; allowed: UTC"):
        Product(product_id=ProductId("p1"), title="Red shoe", updated_at=datetime(2026, 1, 1))
    assert Product(product_id=ProductId("p1"), title="x", updated_at=datetime(2026, 1, 1, tzinfo=UTC)).updated_at


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'title'"):
        Product(product_id=ProductId("p1"), title="Red shoe").title = "Blue shoe"  # type: ignore[misc]
