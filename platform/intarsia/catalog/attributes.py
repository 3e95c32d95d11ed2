"""Read the attributes of a product from named columns, object columns and variants."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from intarsia.catalog.cell_parsers import get_cell, is_blank, parse_values
from intarsia.catalog.mapping import AttributeObjectShape, AttributeShape, CatalogMapping
from intarsia.catalog.rejects import Reason, RowError
from intarsia.records.product import Attributes
from intarsia.text import fold

_fold = functools.lru_cache(maxsize=100_000)(fold)  # the same names and values repeat


def parse_attributes(
    raw: Mapping[str, Any], variants: Iterable[Mapping[str, Any]], mapping: CatalogMapping
) -> Attributes:
    """Read attribute name (folded) -> clean values, in the order of occurrence; values equal after folding count once.

    Raises:
        RowError: WRONG_TYPE when a cell cannot be an attribute.
    """
    values_by_name: dict[str, dict[str, str]] = {}
    empty = {_fold(text) for text in mapping.placeholders}

    def add(name: str, values: Iterable[str]) -> None:
        for value in values:
            if (folded := _fold(value)) and folded not in empty:
                values_by_name.setdefault(_fold(name), {}).setdefault(folded, value)

    for name, column_or_shape in mapping.attributes.items():
        shape = AttributeShape(column=column_or_shape) if isinstance(column_or_shape, str) else column_or_shape
        add(name, parse_values(get_cell(raw, shape.column), shape.separators, f"attributes.{name}"))
    for group in mapping.attribute_objects:
        for name, cell in _object(raw, group).items():
            if name not in group.leave_out:
                add(name, parse_values(cell, group.separators, f"{group.column}.{name}"))
    if mapping.variants is not None:
        for variant in variants:
            for name, column in mapping.variants.attributes.items():
                add(name, parse_values(get_cell(variant, column), (), f"{mapping.variants.column}.{column}"))
    return {name: tuple(values.values()) for name, values in values_by_name.items() if name}


def parse_variants(raw: Mapping[str, Any], mapping: CatalogMapping) -> list[Mapping[str, Any]]:
    """Read the variants of a row; [] when it has none.

    Raises:
        RowError: WRONG_TYPE when the cell is not a list of objects.
    """
    if mapping.variants is None:
        return []
    cell = _parsed(get_cell(raw, mapping.variants.column))
    if is_blank(cell):
        return []
    if not isinstance(cell, list | tuple) or not all(isinstance(variant, Mapping) for variant in cell):
        raise RowError(Reason.WRONG_TYPE, mapping.variants.column, cell, "give a list of objects")
    return list(cell)


def _object(raw: Mapping[str, Any], group: AttributeObjectShape) -> Mapping[str, Any]:
    cell = _parsed(get_cell(raw, group.column))
    if is_blank(cell):
        return {}
    if not isinstance(cell, Mapping):
        raise RowError(Reason.WRONG_TYPE, group.column, cell, "give an object")
    return cell


def _parsed(cell: object) -> object:
    """Parse a text cell that holds JSON, since CSV has no objects; anything else is returned as it is."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell
