from __future__ import annotations

import pickle

from intarsia.errors import DataError


def test_a_data_error_names_place_found_allowed_and_fix() -> None:
    error = DataError(
        table="products", row=4812, key="B07X2", field="price", found="-1.99", allowed="0 or more", fix="correct it"
    )
    assert str(error) == "products row 4812 (B07X2): price is '-1.99'; allowed: 0 or more. Fix: correct it"


def test_a_data_error_without_row_and_key_names_only_the_table() -> None:
    error = DataError(table="query", field="limit", found=0, allowed="1 or more", fix="ask for one")
    assert str(error).startswith("query: limit is 0; ")


def test_a_data_error_can_be_pickled() -> None:
    error = DataError(table="t", row=3, key="k", field="f", found=(1, "x"), allowed="a", fix="m")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is DataError
    assert str(copy) == str(error)
    assert (copy.table, copy.row, copy.key, copy.field) == ("t", 3, "k", "f")
    assert (copy.found, copy.allowed, copy.fix) == ((1, "x"), "a", "m")
