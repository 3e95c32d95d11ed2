"""Which release is live, and which were before it: one small file, replaced in one step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from intarsia.errors import ArtifactError
from intarsia.ids import ReleaseId
from intarsia.lake import write_json

FILE = "live.json"
ROLL_BACK = "previous"
_KEPT_HISTORY = 20


@dataclass(frozen=True, slots=True)
class Pointer:
    """The pointer of one folder of releases."""

    releases: Path

    def live(self) -> ReleaseId | None:
        """The live release, if there is one."""
        history = self._history()
        return ReleaseId(history[-1]["release_id"]) if history else None

    def live_folder(self) -> Path:
        """The folder of the live release.

        Raises:
            ArtifactError: nothing was promoted yet.
        """
        live = self.live()
        if live is None:
            raise ArtifactError(
                f"no release is live in {self.releases}; run pipelines.full_run, or pipelines.promote_release"
            )
        return self.releases / live

    def previous(self) -> ReleaseId:
        """The release to go back to: the one this one followed, never one that was itself rolled back.

        Raises:
            ArtifactError: there was none, or it is no longer there.
        """
        for release_id in reversed(self._line()[:-1]):
            if (self.releases / release_id).is_dir():
                return ReleaseId(release_id)
        raise ArtifactError(f"no earlier release to go back to in {self.releases}; promote another one first")

    def was_rolled_back(self, release_id: ReleaseId) -> bool:
        """Whether the last moves were roll-backs and left this release behind."""
        history = self._history()
        while len(history) > 1 and history.pop()["why"] == ROLL_BACK:
            if history[-1]["release_id"] == release_id:
                return True
        return False

    def move(self, release_id: ReleaseId, *, at: datetime, why: str) -> None:
        """Make a release live; readers see the old pointer or the new one."""
        step = {"release_id": release_id, "at": at.isoformat(), "why": why}
        write_json(self.releases / FILE, {"history": [*self._history(), step][-_KEPT_HISTORY:]})

    def _line(self) -> list[str]:
        """The releases that led to the live one, each once, oldest first; a roll-back cuts off what it left."""
        line: list[str] = []
        for step in self._history():
            release_id = step["release_id"]
            if step["why"] == ROLL_BACK and release_id in line:
                line = line[: line.index(release_id)]
            line = [*(known for known in line if known != release_id), release_id]
        return line

    def _history(self) -> list[dict[str, str]]:
        try:
            content = json.loads((self.releases / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        history: list[dict[str, str]] = content["history"]
        return history
