"""The attributes of a product: named columns, objects whose keys are attributes, and those of its variants."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from intarsia.catalog.cell_parsers import is_blank, pick, values_of
from intarsia.catalog.mapping import AttributeObjectShape, AttributeShape, CatalogMapping
from intarsia.catalog.validate import Reason, RowFault
from intarsia.records.product import Attributes
from intarsia.text import fold

_fold = functools.lru_cache(maxsize=100_000)(fold)  # names and values come again and again


def attributes_of(raw: Mapping[str, Any], variants: Iterable[Mapping[str, Any]], mapping: CatalogMapping) -> Attributes:
    """Attribute name (folded) -> its values, clean, each once however it is spelt, in the order they were found.

    Raises:
        RowFault: WRONG_TYPE when a cell cannot be an attribute.
    """
    found: dict[str, dict[str, str]] = {}
    empty = {_fold(text) for text in mapping.placeholders}

    def add(name: str, values: Iterable[str]) -> None:
        for value in values:
            if (folded := _fold(value)) and folded not in empty:
                found.setdefault(_fold(name), {}).setdefault(folded, value)

    for name, where in mapping.attributes.items():
        shape = where if isinstance(where, AttributeShape) else AttributeShape(column=where)
        add(name, values_of(pick(raw, shape.column), shape.separators, f"attributes.{name}"))
    for group in mapping.attribute_objects:
        for name, cell in _object(raw, group).items():
            if name not in group.leave_out:
                add(name, values_of(cell, group.separators, f"{group.column}.{name}"))
    if mapping.variants is not None:
        for variant in variants:
            for name, column in mapping.variants.attributes.items():
                add(name, values_of(pick(variant, column), (), f"{mapping.variants.column}.{column}"))
    return {name: tuple(values.values()) for name, values in found.items() if name}


def variants_of(raw: Mapping[str, Any], mapping: CatalogMapping) -> list[Mapping[str, Any]]:
    """The variants of a row; [] without any.

    Raises:
        RowFault: WRONG_TYPE when the cell is not a list of objects.
    """
    if mapping.variants is None:
        return []
    cell = _parsed(pick(raw, mapping.variants.column))
    if is_blank(cell):
        return []
    if not isinstance(cell, list | tuple) or not all(isinstance(variant, Mapping) for variant in cell):
        raise RowFault(Reason.WRONG_TYPE, mapping.variants.column, cell, "give a list of objects")
    return list(cell)


def _object(raw: Mapping[str, Any], group: AttributeObjectShape) -> Mapping[str, Any]:
    cell = _parsed(pick(raw, group.column))
    if is_blank(cell):
        return {}
    if not isinstance(cell, Mapping):
        raise RowFault(Reason.WRONG_TYPE, group.column, cell, "give an object")
    return cell


def _parsed(cell: object) -> object:
    """CSV has no objects: a text that is JSON counts as what it says."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell
