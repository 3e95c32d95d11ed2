"""Read a product's path in the category tree from the notations that shops use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.catalog.cell_parsers import get_cell, is_blank, plain_text
from intarsia.catalog.mapping import CategoryShape, column_list
from intarsia.catalog.rejects import Reason, RowError
from intarsia.text import fold

CategoryPath = tuple[str, ...]


def parse_category_path(raw: Mapping[str, Any], shape: CategoryShape) -> CategoryPath:
    """Read the clean category path, root first; () when there is none.

    Of several paths the deepest is used, on a tie the first. A path below a root in `avoid` is used only when there is
    no other.

    Raises:
        RowError: WRONG_TYPE when a cell is neither text nor a list of texts.
    """
    columns = column_list(shape.columns)
    if len(columns) > 1:
        paths = [tuple(level for column in columns for level in _path(get_cell(raw, column), shape))]
    else:
        paths = _paths(get_cell(raw, columns[0]), shape)
    paths = [trimmed for path in paths if (trimmed := _without_roots(path, shape))]
    avoided = {fold(root) for root in shape.avoid}
    wanted = [path for path in paths if fold(path[0]) not in avoided] or paths
    return max(wanted, key=len, default=())


def _paths(value: object, shape: CategoryShape) -> list[CategoryPath]:
    """All paths in one cell."""
    if not isinstance(value, list | tuple):
        return [_path(value, shape)]
    if any(isinstance(entry, list | tuple) for entry in value):
        return [path for entry in value for path in _paths(entry, shape)]
    has_separator = bool(shape.separator) and any(isinstance(v, str) and shape.separator in v for v in value)
    if shape.list_means == "paths" or (shape.list_means == "auto" and has_separator):
        return [_path(entry, shape) for entry in value]
    return [_until_avoided(tuple(level for entry in value for level in _path(entry, shape)), shape)]


def _path(value: object, shape: CategoryShape) -> CategoryPath:
    if is_blank(value):
        return ()
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, "category", value, "give text, or a list of texts")
    levels = value.split(shape.separator) if shape.separator else [value]
    return tuple(text for level in levels if (text := plain_text(level)))


def _without_roots(path: CategoryPath, shape: CategoryShape) -> CategoryPath:
    dropped = {fold(root) for root in shape.drop_roots}
    while path and fold(path[0]) in dropped:
        path = path[1:]
    return path


def _until_avoided(path: CategoryPath, shape: CategoryShape) -> CategoryPath:
    """Cut a list of levels where an avoided group begins: [Gear, Bags, Collections, Erin Recommends] is Gear > Bags."""
    avoided = {fold(root) for root in shape.avoid}
    for depth, level in enumerate(path):
        if depth and fold(level) in avoided:
            return path[:depth]
    return path
