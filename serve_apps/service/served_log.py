"""The log of served requests: queued in memory by the ingress, written by another thread.

A request never waits for the log. A crash of the process loses at most the last second; requests that do not fit into
the queue or cannot be written are counted and logged.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from intarsia.engine.rank import Ranked
from intarsia.ids import ProductId
from intarsia.logs import log_warning
from intarsia.records.page import Page
from intarsia.records.query import Query
from intarsia.records.served import ServedRequest, is_sampled
from intarsia.tables.segments import SegmentWriter, encode_line
from intarsia.tables.served_requests import served_to_row
from serve_apps.service.stages import without_image

_CAPACITY = 4_096  # records of about 4 kB
_WRITE_EVERY_S = 1.0


class ServedLog:
    """Logs a share of the requests; thread-safe.

    Args:
        folder: folder of the log's segments; made by the first write.
        share: share of the requests, 0..1, chosen by request id; 0 logs none and starts no thread.
        capacity: longest queue of requests to write.
    """

    def __init__(self, folder: Path, share: float, *, capacity: int = _CAPACITY) -> None:
        self._folder, self._share, self._capacity = folder, share, capacity
        self._changed = threading.Condition()
        self._queue: list[ServedRequest] = []
        self._num_unwritten = 0  # in the queue or being written
        self._num_dropped = 0
        self._is_flushing = self._closed = False
        self._writer: threading.Thread | None = None
        if share > 0:
            self._writer = threading.Thread(target=self._write_batches, name="served-log", daemon=True)
            self._writer.start()

    @property
    def num_dropped(self) -> int:
        """Requests of the share that are not in the log: the queue was full, writing failed, or the log was closed."""
        return self._num_dropped

    def append(self, *, query: Query, ranked: Ranked, page: Page, product_ids: Sequence[ProductId]) -> None:
        """Queue one answered request.

        Args:
            query: the request; its image is not logged.
            ranked: the order that the page is a slice of, with the query vectors that retrieval used and the digest.
            page: the reply, with all degraded steps.
            product_ids: of the page's release, by row.
        """
        if not is_sampled(query.request_id, self._share):
            return
        served = ServedRequest(
            query=without_image(query),
            release_id=page.release_id,
            vectors=ranked.candidates.query_vectors,
            shown=tuple((hit.position, product_ids[hit.row]) for hit in page.hits),
            digest=ranked.digest,
            degraded=page.degraded,
        )
        with self._changed:
            if self._closed or len(self._queue) >= self._capacity:
                self._num_dropped += 1
                return
            self._queue.append(served)
            self._num_unwritten += 1
            if len(self._queue) == 1 or self._is_due():
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until every request appended so far is on disk, or dropped and counted."""
        with self._changed:
            self._is_flushing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._num_unwritten == 0)
            self._is_flushing = False

    def close(self) -> None:
        """Write the queue and end the thread; requests appended later are dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join()

    def _is_due(self) -> bool:
        return self._closed or self._is_flushing or 2 * len(self._queue) >= self._capacity

    def _write_batches(self) -> None:
        segment: SegmentWriter | None = None
        num_logged = 0
        while batch := self._next_batch():
            num_failed = 0
            try:
                segment = segment or SegmentWriter(self._folder)
                segment.append(b"".join(encode_line(served_to_row(served)) for served in batch))
            except (OSError, ValueError) as error:  # ValueError: a text that UTF-8 cannot hold
                num_failed = len(batch)
                log_warning("served_log_failed", folder=self._folder, error=str(error))
            with self._changed:
                self._num_unwritten -= len(batch)
                self._num_dropped += num_failed
                num_dropped = self._num_dropped
                self._changed.notify_all()
            if num_dropped > num_logged:
                log_warning("served_log_dropped", num_requests=num_dropped - num_logged, capacity=self._capacity)
                num_logged = num_dropped
        if segment is not None:
            segment.close()

    def _next_batch(self) -> list[ServedRequest]:
        """Take the queue; empty once the log is closed and written."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            self._changed.wait_for(self._is_due, timeout=_WRITE_EVERY_S)
            batch, self._queue = self._queue, []
            return batch
