from __future__ import annotations

from decimal import Decimal
from typing import Literal

import pytest

from intarsia.catalog.money import MINOR_DIGITS, parse_price
from intarsia.catalog.rejects import Reason, RowError
from intarsia.records.product import Money


@pytest.mark.parametrize(
    ("value", "currency", "minor_units", "code"),
    [
        ("12.99", "USD", 1299, "USD"),
        ("¥1,299.00", "CNY", 129900, "CNY"),
        ("￥1,299", "JPY", 1299, "JPY"),
        ("1 299.5", "EUR", 129950, "EUR"),
        ("€ 5", None, 500, "EUR"),
        ("12.50 GBP", None, 1250, "GBP"),
        ("USD 3", "usd", 300, "USD"),
        ("100元", None, 10000, "CNY"),
        ("¥100元", None, 10000, "CNY"),
        (".5", "USD", 50, "USD"),
        ("7.", "USD", 700, "USD"),
        (0, "USD", 0, "USD"),
        (19.99, "USD", 1999, "USD"),
        (Decimal("1.234"), "KWD", 1234, "KWD"),
        (10, "JPY", 10, "JPY"),
    ],
)
def test_prices_are_parsed(value: object, currency: str | None, minor_units: int, code: str) -> None:
    assert parse_price(value, currency) == Money(minor_units=minor_units, currency=code)


def test_a_fraction_of_a_minor_unit_is_rounded_half_to_even() -> None:
    assert [parse_price(value, "USD").minor_units for value in ("0.125", "0.135", 0.1 + 0.2)] == [12, 14, 30]


def test_prices_in_minor_units_are_not_scaled() -> None:
    assert parse_price(1299, "USD", unit="minor").minor_units == 1299
    assert parse_price("1,299", "JPY", unit="minor").minor_units == 1299


def test_with_a_decimal_comma_the_point_separates_thousands() -> None:
    assert parse_price("1.299,50 €", None, decimal=",") == Money(minor_units=129950, currency="EUR")


@pytest.mark.parametrize(
    ("value", "currency", "decimal", "reason", "fix"),
    [
        ("-3", "USD", ".", Reason.PRICE_NEGATIVE, "give a price of 0 or more, or none"),
        (-0.01, "USD", ".", Reason.PRICE_NEGATIVE, "give a price of 0 or more, or none"),
        ("12,50", "USD", ".", Reason.PRICE_UNPARSABLE, "write it as digits with '.' before the decimals"),
        ("12.50", "USD", ",", Reason.PRICE_UNPARSABLE, "write it as digits with ',' before the decimals"),
        ("call us", "USD", ".", Reason.PRICE_UNPARSABLE, "write it as digits"),
        ("$ $ $ 5", "USD", ".", Reason.PRICE_UNPARSABLE, "write it as digits"),
        ("1.2.3", "USD", ".", Reason.PRICE_UNPARSABLE, "write it as digits"),
        (float("inf"), "USD", ".", Reason.PRICE_UNPARSABLE, "write it as digits"),
        (10**40, "USD", ".", Reason.PRICE_UNPARSABLE, "give a realistic price"),
        (5, None, ".", Reason.CURRENCY_UNKNOWN, "give a code of ISO 4217 in the file or the mapping"),
        ("$5", None, ".", Reason.CURRENCY_UNKNOWN, "give a code of ISO 4217"),
        (5, "XYZ", ".", Reason.CURRENCY_UNKNOWN, "give a code of ISO 4217"),
        ("5 EUR", "USD", ".", Reason.CURRENCY_UNKNOWN, "make price and currency column agree"),
        (True, "USD", ".", Reason.WRONG_TYPE, "give a number, or a text such as 12.99"),
        ([5], "USD", ".", Reason.WRONG_TYPE, "give a number, or a text such as 12.99"),
    ],
)
def test_an_invalid_price_is_rejected_with_reason_and_fix(
    value: object, currency: str | None, decimal: Literal[".", ","], reason: Reason, fix: str
) -> None:
    with pytest.raises(RowError, match=reason.value) as caught:
        parse_price(value, currency, decimal=decimal)
    assert caught.value.reason == reason
    assert caught.value.fix.startswith(fix)


def test_currencies_have_the_digits_of_iso_4217() -> None:
    assert {code: MINOR_DIGITS[code] for code in ("CNY", "USD", "JPY", "KRW", "KWD", "CLF")} == {
        "CNY": 2,
        "USD": 2,
        "JPY": 0,
        "KRW": 0,
        "KWD": 3,
        "CLF": 4,
    }
    assert all(len(code) == 3 and code.isupper() for code in MINOR_DIGITS)
