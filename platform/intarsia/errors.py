"""Errors caused by input: data, settings or artefacts. A violated internal invariant is an `assert` instead.

Every message names the place, the value found, the values allowed, and the fix.
"""

from __future__ import annotations

from functools import partial
from typing import Any


class IntarsiaError(Exception):
    """Base of all errors that a user of intarsia can fix."""


class DataError(IntarsiaError):
    """A row or file of the input is not valid.

    >>> raise DataError(table="products", row=7, field="price", found="-1", allowed="0 or more", fix="correct it")
    Traceback (most recent call last):
    intarsia.errors.DataError: products row 7: price is '-1'; allowed: 0 or more. Fix: correct it
    """

    def __init__(
        self, *, table: str, field: str, found: object, allowed: str, fix: str, row: int | None = None, key: str = ""
    ) -> None:
        location = table if row is None else f"{table} row {row}"
        location += f" ({key})" if key else ""
        super().__init__(f"{location}: {field} is {found!r}; allowed: {allowed}. Fix: {fix}")
        self.table, self.row, self.key, self.field = table, row, key, field
        self.found, self.allowed, self.fix = found, allowed, fix

    def __reduce__(self) -> tuple[Any, ...]:  # BaseException's own would call __init__ with the message
        rebuild = partial(
            type(self), table=self.table, field=self.field, found=self.found, allowed=self.allowed, fix=self.fix
        )
        return partial(rebuild, row=self.row, key=self.key), ()


class ConfigError(IntarsiaError):
    """A config file, an override or a setting is not valid."""


class ArtifactError(IntarsiaError):
    """A table, artefact, weight file or bundle is missing, damaged, or of an unexpected kind."""


class ReleaseMismatch(IntarsiaError):
    """Two parts that must belong to one release, one vector space or one feature set do not."""
