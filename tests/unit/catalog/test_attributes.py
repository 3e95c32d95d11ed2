from __future__ import annotations

from typing import Any

import pytest

from intarsia.catalog.attributes import parse_attributes, parse_variants
from intarsia.catalog.mapping import CatalogMapping
from intarsia.catalog.rejects import RowError
from tests.unit.catalog.shop_files import mapping


def _attributes(raw: dict[str, Any], rules: CatalogMapping) -> dict[str, tuple[str, ...]]:
    return dict(parse_attributes(raw, parse_variants(raw, rules), rules))


def test_columns_objects_and_variants_are_united_without_repeats() -> None:
    rules = mapping(
        attributes={"Colour": "color", "year": {"column": "spec.year"}, "use": {"column": "use", "separators": [","]}},
        attribute_objects=[{"column": "spec", "separators": ["|"], "leave_out": ["year"]}],
        variants={"column": "variants", "attributes": {"colour": "color", "size": "size"}},
    )
    raw = {
        "color": "Red",
        "use": "run, walk,",
        "spec": {"year": 2020, "Material": "Wool|wool|Silk", "empty": None},
        "variants": [{"color": "RED", "size": "S"}, {"color": "Blue", "size": "S"}, {"size": 38}],
    }
    assert _attributes(raw, rules) == {
        "colour": ("Red", "Blue"),
        "year": ("2020",),
        "use": ("run", "walk"),
        "material": ("Wool", "Silk"),
        "size": ("S", "38"),
    }


def test_placeholders_are_not_values() -> None:
    assert _attributes({"c": "n/a"}, mapping(attributes={"colour": "c"}, placeholders=["N/A"])) == {}


def test_objects_and_variants_may_be_json_text() -> None:
    rules = mapping(attribute_objects=[{"column": "o"}], variants={"column": "v", "attributes": {"size": "s"}})
    assert _attributes({"o": '{"fit": "slim"}', "v": '[{"s": "M"}]'}, rules) == {"fit": ("slim",), "size": ("M",)}


@pytest.mark.parametrize("cell", ["text", "{torn", 5, [1]])
def test_an_object_column_must_hold_an_object(cell: object) -> None:
    with pytest.raises(RowError, match="o: wrong_type") as caught:
        _attributes({"o": cell}, mapping(attribute_objects=[{"column": "o"}]))
    assert caught.value.fix == "give an object"


@pytest.mark.parametrize("cell", ["text", {"s": 1}, [1, 2]])
def test_variants_must_be_a_list_of_objects(cell: object) -> None:
    with pytest.raises(RowError, match="v: wrong_type") as caught:
        _attributes({"v": cell}, mapping(variants={"column": "v", "attributes": {"size": "s"}}))
    assert caught.value.fix == "give a list of objects"
