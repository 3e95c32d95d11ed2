"""Progress of a fit, passed from a worker to the waiting process through a small file on shared storage."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intarsia.lake import replace_file
from intarsia.training.loop import OnStep

_INTERVAL_S = 0.5


class ProgressWriter:
    """Writes the progress of a fit into a file, at most every half second."""

    def __init__(self, path: Path) -> None:
        self._path, self._next_s = path, 0.0

    def __call__(self, done: int, total: int, eta_s: float) -> None:
        """Write the progress; skipped within half a second of the last write, unless this is the end (`eta_s` is 0)."""
        if (now_s := time.monotonic()) >= self._next_s or eta_s == 0:
            replace_file(self._path, json.dumps([done, total, eta_s]).encode())
            self._next_s = now_s + _INTERVAL_S


@contextmanager
def read_progress(path: Path, on_step: OnStep | None) -> Iterator[None]:
    """Within the block, a thread calls `on_step` with each progress that a `ProgressWriter` writes into `path`."""
    if on_step is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        last = b""
        while True:
            has_ended = ended.wait(_INTERVAL_S)
            if path.exists() and (content := path.read_bytes()) != last:
                done, total, eta_s = json.loads(content)
                on_step(done, total, eta_s)
                last = content
            if has_ended:
                return

    thread = threading.Thread(target=watch, name="fit-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
