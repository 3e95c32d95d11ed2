"""POST /v1/events: validate each event, write the valid ones to the journal, then acknowledge."""

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
from serve_apps.http.requests import EventIn, json_value
from serve_apps.http.responses import EventProblem, EventsReply
from serve_apps.settings import Limits

_NUM_WRITERS = 8  # threads that wait for the disk together; the journal lets them share one fsync


class Feedback:
    """Writes events to a journal of this process."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._journal = Journal(folder)
        self._limits = limits
        self._pool = ThreadPoolExecutor(_NUM_WRITERS, thread_name_prefix="journal")

    async def store(self, body: bytes) -> EventsReply:
        """Write the valid events of a request body to disk and report the invalid ones.

        Raises:
            ApiError: 422 without a valid event, 413 for too many events, 503 when the journal cannot be written.
        """
        value = json_value(body)
        is_list = isinstance(value, list)
        items = value if is_list else [value]
        if len(items) > self._limits.max_events:
            raise ApiError(413, f"body: {len(items)} events; allowed: {self._limits.max_events}", field="body")
        received_at = datetime.now(UTC)
        events: list[Event] = []
        rejected: list[EventProblem] = []
        for index, item in enumerate(items):
            event, event_problems = _validate(item, (index,) if is_list else (), received_at)
            if event is not None:
                events.append(event)
            rejected.extend(EventProblem(index=index, field=field, message=text) for field, text in event_problems)
        if not events:
            raise _no_valid_event(rejected)
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._journal.append, events)
        except JournalError as error:
            log_warning("journal_failed", num_events=len(events), error=str(error))
            raise ApiError(503, "the events were not stored; send them again") from None
        return EventsReply(accepted=len(events), rejected=rejected)


def _validate(item: Any, location: Location, received_at: datetime) -> tuple[Event | None, list[Problem]]:
    try:
        event = EventIn.model_validate_json(pydantic_core.to_json(item), strict=True)
        return event.to_record(received_at=received_at), []
    except ValidationError as error:
        return None, problems(error, at=location)
    except ValueError as error:
        return None, [(dotted((*location, "occurred_at")), str(error))]


def _no_valid_event(rejected: list[EventProblem]) -> ApiError:
    if not rejected:
        return ApiError(422, "body: found no events; allowed: one event or a list of them", field="body")
    listed = [(problem.field, problem.message) for problem in rejected]
    field, message = listed[0]
    return ApiError(422, f"{field}: {message}", field=field, problems=listed[:10])
