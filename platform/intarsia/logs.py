"""Log lines of the form `event key=value ...`. Callers log counts and ids, never a user's text."""

from __future__ import annotations

import json
import logging
import re

_log = logging.getLogger("intarsia")
_NEEDS_QUOTES = re.compile(r"[\s\"]")  # an unquoted value must not end the line or look like the next key


def log_event(event: str, **fields: object) -> None:
    """Write one INFO line; floats have three decimals, values with white space are quoted as JSON."""
    _log.info("%s", _line(event, fields))


def log_warning(event: str, **fields: object) -> None:
    """Write one WARNING line in the format of `log_event`."""
    _log.warning("%s", _line(event, fields))


def _line(event: str, fields: dict[str, object]) -> str:
    return " ".join([event, *(f"{key}={_text(value)}" for key, value in fields.items())])


def _text(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text
