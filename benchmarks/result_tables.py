"""Write measured rows into the result tables of the manual (`docs/results/*.json`); `docs/generate.py` renders them.

A table file has: title, text, command, measured, key (the columns that name a row), columns (name, label, format),
rows, and optionally after. A cell is null, a text, a number, or an object with value, and optionally low, high,
verdict, signed, chosen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intarsia import __version__
from intarsia.errors import ConfigError
from intarsia.evaluation.significance import Interval

ResultCell = str | float | None | Mapping[str, Any]
ResultRow = Mapping[str, ResultCell]


def add_json_option(parser: argparse.ArgumentParser, flag: str = "--json") -> None:
    """Add the option that names the table file to write to."""
    parser.add_argument(flag, type=Path, metavar="FILE", help="write the rows into this table, docs/results/*.json")


def interval_cell(interval: Interval | Mapping[str, float]) -> ResultCell:
    """A mean with its interval as a cell."""
    if isinstance(interval, Interval):
        return {"value": interval.mean, "low": interval.low, "high": interval.high}
    return {"value": interval["mean"], "low": interval["low"], "high": interval["high"]}


def write_rows(path: Path | None, rows: Sequence[ResultRow], *, merge: bool = False) -> None:
    """Write rows into a table file; do nothing without a path.

    Args:
        path: the table file; it must exist, since it also holds the texts and columns.
        rows: cells by column name.
        merge: keep other rows, and other cells of a row with the same key; such rows note when they were measured.

    Raises:
        ConfigError: the file is missing, or a row has a cell without a column.
    """
    if path is None:
        return
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist. Fix: name a table of docs/results, or copy one and change its columns"
        )
    table = json.loads(path.read_text(encoding="utf-8"))
    columns = {column["name"] for column in table["columns"]}
    for row in rows:
        if unknown := sorted(set(row) - columns):
            raise ConfigError(
                f"{path} has no column {unknown[0]}; known: {', '.join(sorted(columns))}. Fix: add the column"
            )
    measured = {
        "version": __version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}",
    }
    if merge:
        old_rows = {_key(row, table["key"]): row for row in table["rows"]}
        for row in rows:
            key = _key(row, table["key"])
            old_rows[key] = {**old_rows.get(key, {}), **row, "measured": measured}
        table["rows"] = list(old_rows.values())
    else:
        table["rows"], table["measured"] = list(rows), measured
    path.write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _key(row: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)
