"""Parse prices to `Money` in minor units: currency codes and signs, thousands separators, decimal marks."""

from __future__ import annotations

import re
import unicodedata
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from intarsia.catalog.rejects import Reason, RowError
from intarsia.records.product import Money

_TWO_DIGITS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
    "CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL "
    "HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR "
    "MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK "
    "SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD "
    "YER ZAR ZMW ZWG"
)
_NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DIGITS = "CLF UYW"

MINOR_DIGITS: dict[str, int] = {
    code: digits
    for digits, codes in ((0, _NO_DIGITS), (2, _TWO_DIGITS), (3, _THREE_DIGITS), (4, _FOUR_DIGITS))
    for code in codes.split()
}
"""Currency code -> decimal digits of its minor unit (ISO 4217 list one, without funds codes and metals)."""

_SIGNS = {
    "€": "EUR",
    "£": "GBP",
    "₩": "KRW",
    "₹": "INR",
    "US$": "USD",
    "HK$": "HKD",
    "NT$": "TWD",
    "元": "CNY",
    "RMB": "CNY",
}
_AMBIGUOUS_SIGNS = "$¥￥"  # several countries use them, so the mapping must name the currency
_CURRENCY_TEXT = re.compile(r"HK\$|NT\$|US\$|RMB|[A-Z]{3}|[€£₩₹元$¥￥]")
_MAX_MINOR_UNITS = 2**53  # exact as a float64, which columns and filters use


def parse_price(
    value: object,
    currency: str | None,
    *,
    unit: Literal["major", "minor"] = "major",
    decimal: Literal[".", ","] = ".",
) -> Money:
    """Parse the price in a cell.

    Args:
        value: int, float, Decimal, or text with an optional currency code or sign before or after the number.
        currency: currency code of this row; None when only the text can give it.
        unit: whether numbers are in major units (dollars) or minor units (cents).
        decimal: decimal mark in text; the other mark, spaces and apostrophes separate thousands.

    Returns:
        The price; fractions of a minor unit are rounded half to even.

    Raises:
        RowError: WRONG_TYPE, PRICE_UNPARSABLE, PRICE_NEGATIVE or CURRENCY_UNKNOWN.

    >>> parse_price("¥1,299.00", "CNY")
    Money(minor_units=129900, currency='CNY')
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise RowError(Reason.WRONG_TYPE, "price", value, "give a number, or a text such as 12.99")
    text_currency, amount = _parse_text(value, decimal) if isinstance(value, str) else (None, Decimal(str(value)))
    if amount is None or not amount.is_finite():
        raise RowError(
            Reason.PRICE_UNPARSABLE, "price", value, f"write it as digits with '{decimal}' before the decimals"
        )
    code = _resolve_currency(currency, text_currency, value)
    minor = amount.scaleb(MINOR_DIGITS[code]) if unit == "major" else amount
    if abs(minor) > _MAX_MINOR_UNITS:
        raise RowError(Reason.PRICE_UNPARSABLE, "price", value, "give a realistic price")
    whole = int(minor.to_integral_value(ROUND_HALF_EVEN))
    if minor < 0:
        raise RowError(Reason.PRICE_NEGATIVE, "price", value, "give a price of 0 or more, or none")
    return Money(minor_units=whole, currency=code)


def _resolve_currency(currency: str | None, text_currency: str | None, value: object) -> str:
    code = (currency or text_currency or "").strip().upper()
    if code not in MINOR_DIGITS:
        found = code or f"none for {value!r}"
        raise RowError(Reason.CURRENCY_UNKNOWN, "currency", found, "give a code of ISO 4217 in the file or the mapping")
    if text_currency is not None and text_currency != code:
        raise RowError(
            Reason.CURRENCY_UNKNOWN, "currency", f"{code} and {value}", "make price and currency column agree"
        )
    return code


def _parse_text(text: str, decimal: str) -> tuple[str | None, Decimal | None]:
    """(currency named in the text or None, amount or None when it is not a number)."""
    normal = unicodedata.normalize("NFKC", text).strip()
    currency: str | None = None
    marks = _CURRENCY_TEXT.findall(normal)
    if len(marks) > 2:
        return None, None
    for mark in marks:
        if mark not in _AMBIGUOUS_SIGNS:
            currency = _SIGNS.get(mark, mark)
    number = _CURRENCY_TEXT.sub("", normal)
    number = re.sub(r"[\s'’_]", "", number)
    thousands = "," if decimal == "." else "."
    group_mark, decimal_mark = re.escape(thousands), re.escape(decimal)
    grouped = rf"[-+]?(\d+|\d{{1,3}}(?:{group_mark}\d{{3}})+)(?:{decimal_mark}\d*)?|[-+]?{decimal_mark}\d+"
    if not re.fullmatch(grouped, number):
        return currency, None
    return currency, Decimal(number.replace(thousands, "").replace(decimal, "."))
