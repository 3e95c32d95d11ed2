from __future__ import annotations

import pickle

from intarsia.errors import DataError


def test_a_data_error_names_place_found_allowed_and_mend() -> None:
    error = DataError(
        table="products", row=4812, key="B07X2", field="price", found="-1.99", allowed="0 or more", fix="correct it"
    )
    assert str(error) == "products row 4812 (B07X2): price is '-1.99'; allowed: 0 or more. Fix: correct it"


def test_a_data_error_without_row_and_key_names_the_table_alone() -> None:
    error = DataError(table="query", field="limit", found=0, allowed="1 or more", fix="ask for one")
    assert str(error).startswith("query: limit is 0; ")


def test_a_data_error_comes_whole_out_of_another_process() -> None:
    error = DataError(table="t", row=3, key="k", field="f", found=(1, "x"), allowed="a", fix="m")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DataError
    assert str(again) == str(error)
    assert (again.table, again.row, again.key, again.field) == ("t", 3, "k", "f")
    assert (again.found, again.allowed, again.fix) == ((1, "x"), "a", "m")
