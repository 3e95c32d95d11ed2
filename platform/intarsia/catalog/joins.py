"""Side files joined to the rows of a catalog by key: a better title, a translated text, prices of another system."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.catalog.cell_parsers import is_blank, pick
from intarsia.catalog.mapping import MergeShape
from intarsia.catalog.raw_rows import Defect
from intarsia.catalog.sources import read_rows
from intarsia.errors import DataError


class SideFiles:
    """The side files of a mapping, in memory."""

    def __init__(self, merges: tuple[MergeShape, ...], folder: Path) -> None:
        """Read them all.

        Raises:
            DataError: a file is missing or unreadable, or has a row that cannot be read or lacks a column.
        """
        self._merges = [(merge, _by_key(merge, folder / merge.file)) for merge in merges]

    def merged(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row with the columns of its side rows; as it was where no side file knows its key."""
        for merge, rows in self._merges:
            cell = pick(raw, merge.key)
            found = None if is_blank(cell) else rows.get(str(cell))
            if found is not None and _applies(merge, raw):
                raw = {**raw, **found}
        return raw


def _applies(merge: MergeShape, raw: Mapping[str, Any]) -> bool:
    return all(re.search(pattern, str(pick(raw, column))) for column, pattern in merge.where.items())


def _by_key(merge: MergeShape, path: Path) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for number, value in read_rows(path, merge.shape):
        if isinstance(value, Defect):
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
