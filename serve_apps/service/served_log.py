"""The ingress's side of the log of served requests: noted in memory on the way out, written by a thread of its own.

It is a log and not an acknowledgement: a request never waits for it. A crash of the process takes at most the last second of it; what does
not fit into the queue, or what the disk refuses, is counted and told.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

from intarsia.engine.rank import Ranked
from intarsia.ids import ProductId
from intarsia.logs import log_warning
from intarsia.records.page import Page
from intarsia.records.query import Query
from intarsia.records.served import IMAGE_NOT_STORED, ServedRequest, is_sampled
from intarsia.tables.segments import SegmentWriter, encode_line
from intarsia.tables.served_requests import served_to_row

_CAPACITY = 4_096  # records of some 4 kB
_WRITE_EVERY_S = 1.0


class ServedLog:
    """Notes a share of the requests, from any thread.

    Args:
        folder: of the log's segments; made when there is something to write.
        share: of the requests, 0..1, chosen by request id; 0 notes none and starts no thread.
        capacity: requests that may wait to be written.
    """

    def __init__(self, folder: Path, share: float, *, capacity: int = _CAPACITY) -> None:
        self._folder, self._share, self._capacity = folder, share, capacity
        self._changed = threading.Condition()
        self._waiting: list[ServedRequest] = []
        self._num_unwritten = 0  # waiting, or with the writer
        self._num_dropped = 0
        self._hurry = self._closed = False
        self._writer: threading.Thread | None = None
        if share > 0:
            self._writer = threading.Thread(target=self._write_on, name="served-log", daemon=True)
            self._writer.start()

    @property
    def num_dropped(self) -> int:
        """Requests of the share that are not in the log: the queue was full, the disk refused, or it was closed."""
        return self._num_dropped

    def note(self, *, query: Query, ranked: Ranked, page: Page, product_ids: Sequence[ProductId]) -> None:
        """Note what a request was answered with.

        Args:
            query: as it was asked; its picture is left out.
            ranked: what the page was cut from; holds the query vectors that retrieval used, and the digest.
            page: as it was sent, with all degraded steps.
            product_ids: of the page's release, by row.
        """
        if not is_sampled(query.request_id, self._share):
            return
        served = ServedRequest(
            query=query if query.image is None else dataclasses.replace(query, image=IMAGE_NOT_STORED),
            release_id=page.release_id,
            vectors=ranked.candidates.query_vectors,
            shown=tuple((hit.position, product_ids[hit.row]) for hit in page.hits),
            digest=ranked.digest,
            degraded=page.degraded,
        )
        with self._changed:
            if self._closed or len(self._waiting) >= self._capacity:
                self._num_dropped += 1
                return
            self._waiting.append(served)
            self._num_unwritten += 1
            if len(self._waiting) == 1 or self._is_due():
                self._changed.notify_all()

    def flush(self) -> None:
        """Return when everything noted so far is on disk, or was dropped and counted."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._num_unwritten == 0)
            self._hurry = False

    def close(self) -> None:
        """Write what waits and end the thread; what is noted later is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join()

    def _is_due(self) -> bool:
        return self._closed or self._hurry or 2 * len(self._waiting) >= self._capacity

    def _write_on(self) -> None:
        segment: SegmentWriter | None = None
        num_told = 0
        while batch := self._next_batch():
            num_lost = 0
            try:
                segment = segment or SegmentWriter(self._folder)
                segment.append(b"".join(encode_line(served_to_row(served)) for served in batch))
            except (OSError, ValueError) as error:  # ValueError: a text that UTF-8 cannot hold
                num_lost = len(batch)
                log_warning("served_log_failed", folder=self._folder, error=str(error))
            with self._changed:
                self._num_unwritten -= len(batch)
                self._num_dropped += num_lost
                num_dropped = self._num_dropped
                self._changed.notify_all()
            if num_dropped > num_told:
                log_warning("served_log_dropped", num_requests=num_dropped - num_told, capacity=self._capacity)
                num_told = num_dropped
        if segment is not None:
            segment.close()

    def _next_batch(self) -> list[ServedRequest]:
        """What has come together; nothing once the log is closed and written."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(self._is_due, timeout=_WRITE_EVERY_S)
            batch, self._waiting = self._waiting, []
            return batch
