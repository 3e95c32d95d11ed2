"""The releases a process holds open: the live one and the one before it, swapped inside the process while requests are in flight.

What is opened of a release differs by deployment (a ranker needs no indexes of words), so each brings its own `open_part`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from intarsia.errors import ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.logs import log_event, log_warning
from intarsia.release.bundle import verify
from intarsia.release.manifest import Manifest
from serve_apps.settings import LIVE, ServingConfig

PartT = TypeVar("PartT")
_HELD = 2  # the live one, and the one that requests in flight were pinned to


class ReleaseCache(Generic[PartT]):
    """The open part of at most two releases; `open_part(folder, manifest)` also warms what it opens."""

    def __init__(self, config: ServingConfig, open_part: Callable[[Path, Manifest], PartT]) -> None:
        self._config = config
        self._open_part = open_part
        self._lock = threading.Lock()
        self._parts: dict[ReleaseId, PartT] = {}  # oldest first
        self._open(self._wanted())
        self._closed = threading.Event()
        if config.follow_s > 0 and config.release == LIVE:
            threading.Thread(target=self._follow, name="follow-live-release", daemon=True).start()

    @property
    def current(self) -> ReleaseId:
        """The release that new requests are pinned to."""
        return next(reversed(self._parts))

    def of(self, release_id: ReleaseId) -> PartT:
        """The part of a release.

        Raises:
            ReleaseMismatch: this process does not hold it.
        """
        part = self._parts.get(release_id)
        if part is None:
            raise ReleaseMismatch(f"release {release_id} is not held here; held: {', '.join(self._parts)}")
        return part

    def alternative_to(self, release_id: ReleaseId) -> ReleaseId:
        """What to try when another process refused `release_id`: a newer live release if there is one, else the other one held.

        Raises:
            ArtifactError: nothing is live any more.
        """
        self.look()
        return next((held for held in reversed(self._parts) if held != release_id), release_id)

    def look(self) -> bool:
        """Open the live release if the pointer has moved; whether it had. A release that cannot be opened is logged and not served.

        Raises:
            ArtifactError: nothing is live any more.
        """
        with self._lock:
            wanted = self._wanted()
            if wanted == self.current:
                return False
            try:
                self._open(wanted)
            except Exception as error:  # opening runs every part's code, and that of the libraries it reads files with
                log_warning("release_not_opened", release_id=wanted, stays=self.current, error=_said(error))
                return False
        log_event("release_swapped", release_id=wanted)
        return True

    def close(self) -> None:
        """Stop following the pointer."""
        self._closed.set()

    def _follow(self) -> None:
        while not self._closed.wait(self._config.follow_s):
            try:
                self.look()
            except Exception as error:  # whatever the pointer's file says now, a later look may find it mended
                log_warning("pointer_not_read", error=_said(error))

    def _wanted(self) -> ReleaseId:
        return ReleaseId(self._config.release_folder().name)

    def _open(self, release_id: ReleaseId) -> None:
        folder = self._config.releases / release_id
        part = self._parts.get(release_id) or self._open_part(folder, verify(folder))
        others = [item for item in self._parts.items() if item[0] != release_id]
        self._parts = {**dict(others[-(_HELD - 1) :]), release_id: part}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
