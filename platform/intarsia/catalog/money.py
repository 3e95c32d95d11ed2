"""A price as a shop writes it to Money in minor units: currencies of ISO 4217, thousands, decimals, signs."""

from __future__ import annotations

import re
import unicodedata
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from intarsia.catalog.validate import Reason, RowFault
from intarsia.records.product import Money

_TWO_DIGITS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD "
    "KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN "
    "QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED "
    "VES WST XCD YER ZAR ZMW ZWG"
)
_NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DIGITS = "CLF UYW"

MINOR_DIGITS: dict[str, int] = {
    code: digits
    for digits, codes in ((0, _NO_DIGITS), (2, _TWO_DIGITS), (3, _THREE_DIGITS), (4, _FOUR_DIGITS))
    for code in codes.split()
}
"""Currency code -> decimal digits of its minor unit (ISO 4217, list one, active codes of money that buys things)."""

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
_UNSURE_SIGNS = "$¥￥"  # dollars and yuan or yen of several countries: the mapping must say which
_CURRENCY_TEXT = re.compile(r"HK\$|NT\$|US\$|RMB|[A-Z]{3}|[€£₩₹元$¥￥]")
_MAX_MINOR_UNITS = 2**53  # exact as a float64, which columns and filters use


def parse_price(
    value: object,
    currency: str | None,
    *,
    unit: Literal["major", "minor"] = "major",
    decimal: Literal[".", ","] = ".",
) -> Money:
    """The price that a cell tells.

    Args:
        value: int, float, Decimal, or text with an optional currency code or sign before or after the number.
        currency: the code that holds for this row; nothing when only the text can tell.
        unit: whether numbers are major units (dollars) or minor units (cents). Fractions of a minor unit are rounded half to even.
        decimal: decimal mark in texts; the other one, spaces and apostrophes part thousands.

    Raises:
        RowFault: PRICE_UNPARSABLE, PRICE_NEGATIVE or CURRENCY_UNKNOWN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise RowFault(Reason.WRONG_TYPE, "price", value, "give a number, or a text such as 12.99")
    told, amount = _read_text(value, decimal) if isinstance(value, str) else (None, Decimal(str(value)))
    if amount is None or not amount.is_finite():
        raise RowFault(
            Reason.PRICE_UNPARSABLE, "price", value, f"write it as digits with '{decimal}' before the decimals"
        )
    code = _agreed(currency, told, value)
    minor = amount.scaleb(MINOR_DIGITS[code]) if unit == "major" else amount
    if abs(minor) > _MAX_MINOR_UNITS:
        raise RowFault(Reason.PRICE_UNPARSABLE, "price", value, "give a price that somebody could pay")
    whole = int(minor.to_integral_value(ROUND_HALF_EVEN))
    if minor < 0:
        raise RowFault(Reason.PRICE_NEGATIVE, "price", value, "give a price of 0 or more, or none")
    return Money(minor_units=whole, currency=code)


def _agreed(currency: str | None, told: str | None, value: object) -> str:
    code = (currency or told or "").strip().upper()
    if code not in MINOR_DIGITS:
        found = code or f"none for {value!r}"
        raise RowFault(Reason.CURRENCY_UNKNOWN, "currency", found, "give a code of ISO 4217 in the file or the mapping")
    if told is not None and told != code:
        raise RowFault(
            Reason.CURRENCY_UNKNOWN, "currency", f"{code} and {value}", "let price and currency column agree"
        )
    return code


def _read_text(text: str, decimal: str) -> tuple[str | None, Decimal | None]:
    """(currency told by the text or None, amount or None when it is no number)."""
    normal = unicodedata.normalize("NFKC", text).strip()
    told: str | None = None
    marks = _CURRENCY_TEXT.findall(normal)
    if len(marks) > 2:
        return None, None
    for mark in marks:
        if mark not in _UNSURE_SIGNS:
            told = _SIGNS.get(mark, mark)
    number = _CURRENCY_TEXT.sub("", normal)
    number = re.sub(r"[\s'’_]", "", number)
    thousands = "," if decimal == "." else "."
    if not re.fullmatch(
        rf"[-+]?(\d+|\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+)(?:{re.escape(decimal)}\d*)?|[-+]?{re.escape(decimal)}\d+",
        number,
    ):
        return told, None
    return told, Decimal(number.replace(thousands, "").replace(decimal, "."))
