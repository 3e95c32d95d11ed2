"""The errors that are meant for whoever gave us something; what is our own fault is an `assert`.

Every message names the place, what was found, what is allowed, and the mend.
"""

from __future__ import annotations

from functools import partial
from typing import Any


class IntarsiaError(Exception):
    """Base of all errors a user of intarsia may meet and mend."""


class DataError(IntarsiaError):
    """A row or file that was given to us does not say what it must."""

    def __init__(
        self, *, table: str, field: str, found: object, allowed: str, fix: str, row: int | None = None, key: str = ""
    ) -> None:
        place = table if row is None else f"{table} row {row}"
        place += f" ({key})" if key else ""
        super().__init__(f"{place}: {field} is {found!r}; allowed: {allowed}. Fix: {fix}")
        self.table, self.row, self.key, self.field = table, row, key, field
        self.found, self.allowed, self.fix = found, allowed, fix

    def __reduce__(self) -> tuple[Any, ...]:  # it must come whole out of another process
        again = partial(
            type(self), table=self.table, field=self.field, found=self.found, allowed=self.allowed, fix=self.fix
        )
        return partial(again, row=self.row, key=self.key), ()


class ConfigError(IntarsiaError):
    """A config file, an override or a config value is not usable."""


class ArtifactError(IntarsiaError):
    """A table, artefact, weight file or bundle is missing, torn, or of another kind than asked for."""


class ReleaseMismatch(IntarsiaError):
    """Two parts that must come from one release (or one vector space, or one feature set) do not."""
