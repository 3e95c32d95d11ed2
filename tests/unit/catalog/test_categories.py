from __future__ import annotations

from typing import Any

import pytest

from intarsia.catalog.categories import parse_category_path
from intarsia.catalog.mapping import CategoryShape
from intarsia.catalog.rejects import RowError

_LUMA = {"columns": "c", "separator": "/", "drop_roots": ("Default Category",), "avoid": ("Collections", "Promotions")}


@pytest.mark.parametrize(
    ("shape", "cell", "path"),
    [
        ({"columns": "c", "separator": ">"}, "Home > Kitchen >  Mugs", ("Home", "Kitchen", "Mugs")),
        ({"columns": "c"}, "Home / Kitchen", ("Home / Kitchen",)),
        ({"columns": "c"}, ["家电 数码", "手机"], ("家电 数码", "手机")),
        ({"columns": "c"}, [], ()),
        ({"columns": "c"}, None, ()),
        ({"columns": "c", "separator": ">"}, " > ", ()),
        (_LUMA,
         ["Default Category/Men/Tops/Tees", "Default Category/Collections/Eco/Old/Deep", "Default Category"],
         ("Men", "Tops", "Tees")),
        (_LUMA, ["Gear", "Bags", "Collections", "Erin Recommends"], ("Gear", "Bags")),
        (_LUMA, ["Default Category/Promotions/Pants"], ("Promotions", "Pants")),
        (_LUMA, ["Default Category"], ()),
        ({"columns": "c", "list_means": "paths"}, ["a", "b"], ("a",)),
        ({"columns": "c", "separator": "/", "list_means": "levels"}, ["a/b", "c"], ("a", "b", "c")),
        ({"columns": "c"}, [["a", "b"], ["c", "d", "e"]], ("c", "d", "e")),
    ],
)  # fmt: skip
def test_the_deepest_path_outside_avoided_groups_is_used(
    shape: dict[str, Any], cell: object, path: tuple[str, ...]
) -> None:
    assert parse_category_path({"c": cell}, CategoryShape(**shape)) == path


def test_several_columns_are_the_levels_of_one_path() -> None:
    shape = CategoryShape(columns=("a", "b", "c"))
    assert parse_category_path({"a": "Apparel", "b": None, "c": "Tees &amp; Tops"}, shape) == ("Apparel", "Tees & Tops")


def test_a_category_that_is_not_text_is_rejected() -> None:
    with pytest.raises(RowError, match="category: wrong_type") as caught:
        parse_category_path({"c": 7}, CategoryShape(columns="c"))
    assert caught.value.fix == "give text, or a list of texts"
