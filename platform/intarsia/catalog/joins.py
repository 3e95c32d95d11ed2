"""Left join of side files to the rows of a catalog by key, for example of translated titles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.catalog.cell_parsers import get_cell, is_blank
from intarsia.catalog.mapping import MergeShape
from intarsia.catalog.sources import UnreadableRow, read_raw_rows
from intarsia.errors import DataError


class SideFiles:
    """The side files of a mapping, held in memory."""

    def __init__(self, merges: tuple[MergeShape, ...], folder: Path) -> None:
        """Read all side files.

        Raises:
            DataError: a file is missing or unreadable, or one of its rows is unreadable or lacks a column.
        """
        self._merges = [(merge, _by_key(merge, folder / merge.file)) for merge in merges]

    def join(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add the columns of the matching side rows to a row; a row whose key no side file has is returned as it is."""
        for merge, rows in self._merges:
            cell = get_cell(raw, merge.key)
            side_row = None if is_blank(cell) else rows.get(str(cell))
            if side_row is not None and _applies(merge, raw):
                raw = {**raw, **side_row}
        return raw


def _applies(merge: MergeShape, raw: Mapping[str, Any]) -> bool:
    return all(re.search(pattern, str(get_cell(raw, column))) for column, pattern in merge.where.items())


def _by_key(merge: MergeShape, path: Path) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for number, value in read_raw_rows(path, merge.shape):
        if isinstance(value, UnreadableRow):
            raise DataError(
                table=str(path), row=number, field="row", found=value.found, allowed="a readable row", fix=value.fix
            )
        for column in (merge.key, *merge.columns):
            if column not in value:
                allowed = ", ".join(map(str, value))
                raise DataError(
                    table=str(path),
                    row=number,
                    field="column",
                    found=column,
                    allowed=allowed,
                    fix="correct merge in the mapping",
                )
        rows[str(value[merge.key])] = {column: value[column] for column in merge.columns}
    return rows
