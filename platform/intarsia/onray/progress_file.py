"""How far a fit is, from the worker that knows to the process that waits: a small file on the storage both see."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intarsia.training.loop import OnStep

_TOLD_EVERY_S = 0.5


class ProgressWriter:
    """Writes how far the fit is into a small file, at most every half second."""

    def __init__(self, path: Path) -> None:
        self._path, self._next_s = path, 0.0

    def __call__(self, done: int, total: int, eta_s: float) -> None:
        """Write it, unless something was written just now and this is not the end."""
        if (now_s := time.monotonic()) >= self._next_s or eta_s == 0:
            write_whole(self._path, json.dumps([done, total, eta_s]).encode())
            self._next_s = now_s + _TOLD_EVERY_S


@contextmanager
def read_progress(path: Path, on_step: OnStep | None) -> Iterator[None]:
    """While open, a thread tells `on_step` what rank 0 wrote into `path`."""
    if on_step is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        last = b""
        while True:
            was_ended = ended.wait(_TOLD_EVERY_S)
            if path.exists() and (now := path.read_bytes()) != last:
                done, total, eta_s = json.loads(now)
                on_step(done, total, eta_s)
                last = now
            if was_ended:
                return

    thread = threading.Thread(target=watch, name="fit-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file aside and move it into place, so that a reader sees it whole."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    aside.write_bytes(content)
    os.replace(aside, path)
