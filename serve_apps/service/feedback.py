"""POST /v1/events: each event checked on its own, those that are right made durable, then acknowledged."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import ValidationError

from intarsia.events.journal import Journal, JournalError
from intarsia.logs import log_warning
from intarsia.records.event import Event
from serve_apps.http.errors import ApiError, Location, Problem, dotted, problems
from serve_apps.http.request_parsing import json_value
from serve_apps.http.schemas import EventIn, EventProblem, EventsReply
from serve_apps.settings import Limits

_WRITERS = 8  # threads that wait for the disk together; the journal lets them share one fsync


class Feedback:
    """Takes events into a journal of its own."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._journal = Journal(folder)
        self._limits = limits
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="journal")

    async def take(self, body: bytes) -> EventsReply:
        """Make the right events of a body durable, and say what is wrong with the others.

        Raises:
            Refusal: 422 when none of them is right, 413 for too many, 503 when the disk refuses.
        """
        given = json_value(body)
        is_list = isinstance(given, list)
        items = given if is_list else [given]
        if len(items) > self._limits.max_events:
            raise ApiError(413, f"body: {len(items)} events; allowed: {self._limits.max_events}", field="body")
        received_at = datetime.now(UTC)
        events: list[Event] = []
        wrong: list[EventProblem] = []
        for index, item in enumerate(items):
            event, found = _checked(item, (index,) if is_list else (), received_at)
            if event is not None:
                events.append(event)
            wrong.extend(EventProblem(index=index, field=field, message=message) for field, message in found)
        if not events:
            raise _none_right(wrong)
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._journal.append, events)
        except JournalError as error:
            log_warning("journal_failed", num_events=len(events), error=str(error))
            raise ApiError(503, "the events could not be kept; send them again") from None
        return EventsReply(accepted=len(events), rejected=wrong)


def _checked(item: Any, at: Location, received_at: datetime) -> tuple[Event | None, list[Problem]]:
    try:
        return EventIn.model_validate_json(pydantic_core.to_json(item), strict=True).to_record(
            received_at=received_at
        ), []
    except ValidationError as error:
        return None, problems(error, at=at)
    except ValueError as error:
        return None, [(dotted((*at, "occurred_at")), str(error))]


def _none_right(wrong: list[EventProblem]) -> ApiError:
    if not wrong:
        return ApiError(422, "body: found no events; allowed: one event or a list of them", field="body")
    found = [(problem.field, problem.message) for problem in wrong]
    return ApiError(422, f"{found[0][0]}: {found[0][1]}", field=found[0][0], problems=found[:10])
