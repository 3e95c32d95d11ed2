"""One line per thing that happened: `event key=value …`, for the person at 3 a.m.; counts, never a user's text."""

from __future__ import annotations

import json
import logging
import re

_log = logging.getLogger("intarsia")
_NEEDS_QUOTES = re.compile(r"[\s\"]")  # a value must not end its line, or look like the next key


def log_event(event: str, **fields: object) -> None:
    """Write one INFO line, `event key=value key=value`; floats with three decimals."""
    _log.info("%s", _line(event, fields))


def log_warning(event: str, **fields: object) -> None:
    """The same at WARNING: something degraded, and somebody should know."""
    _log.warning("%s", _line(event, fields))


def _line(event: str, fields: dict[str, object]) -> str:
    return " ".join([event, *(f"{key}={_text(value)}" for key, value in fields.items())])


def _text(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text
