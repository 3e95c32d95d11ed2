from __future__ import annotations

from collections import Counter

import pytest

from intarsia.catalog.rejects import Reason, Reject, check_dropped_share, excerpt
from intarsia.errors import DataError
from intarsia.image import ImageFault
from intarsia.tables.products import REJECTED_PRODUCTS


def test_a_reject_is_a_row_of_its_table() -> None:
    reject = Reject(
        file="a.csv",
        row=3,
        key="P1",
        field="images",
        reason=ImageFault.ABSENT,
        found="x",
        fix="put it there",
        dropped=False,
    )
    table = REJECTED_PRODUCTS.from_rows([reject.to_row()])
    assert table.to_pylist() == [
        {
            "file": "a.csv",
            "row": 3,
            "key": "P1",
            "field": "images",
            "reason": "image_absent",
            "found": "x",
            "fix": "put it there",
            "dropped": False,
        }
    ]


def test_an_excerpt_is_short_and_valid_unicode() -> None:
    assert excerpt("x" * 300) == "x" * 199 + "…"
    assert excerpt(b"\xff{") == "\ufffd{"
    assert (excerpt(["a", 1]), excerpt("half \ud83d")) == ("['a', 1]", "half ?")


def test_too_many_dropped_rows_are_an_error_with_the_worst_reason() -> None:
    dropped = Counter({Reason.ID_MISSING.value: 2, Reason.BROKEN_JSON.value: 4})
    check_dropped_share(120, dropped, 0.05, table="products", rejected_at="/lake/rejected")
    with pytest.raises(
        DataError, match=r"6 of 119 \(5.0%\), most of them broken_json \(4\)'; allowed: max_rejected_share 0.05"
    ):
        check_dropped_share(119, dropped, 0.05, table="products", rejected_at="/lake/rejected")
    with pytest.raises(
        DataError, match="look at reason broken_json in /lake/rejected, correct the file or its mapping"
    ):
        check_dropped_share(10, dropped, 0.05, table="products", rejected_at="/lake/rejected")


def test_no_dropped_row_passes_any_limit() -> None:
    check_dropped_share(0, {}, 0.0, table="products", rejected_at="")


def test_reason_codes_are_distinct_from_those_of_images() -> None:
    assert not {reason.value for reason in Reason} & {fault.value for fault in ImageFault}
