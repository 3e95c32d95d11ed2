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
        """The release that was live before this one.

        Raises:
            ArtifactError: there was none, or it is no longer there.
        """
        live = self.live()
        for step in reversed(self._history()):
            if step["release_id"] != live and (self.releases / step["release_id"]).is_dir():
                return ReleaseId(step["release_id"])
        raise ArtifactError(f"no earlier release to go back to in {self.releases}; promote another one first")

    def left_for_an_earlier_one(self) -> ReleaseId | None:
        """The release the last roll-back left, when the last move was one."""
        history = self._history()
        rolled_back = len(history) > 1 and history[-1]["why"] == ROLL_BACK
        return ReleaseId(history[-2]["release_id"]) if rolled_back else None

    def move(self, release_id: ReleaseId, *, at: datetime, why: str) -> None:
        """Make a release live; readers see the old pointer or the new one."""
        step = {"release_id": release_id, "at": at.isoformat(), "why": why}
        write_json(self.releases / FILE, {"history": [*self._history(), step][-_KEPT_HISTORY:]})

    def _history(self) -> list[dict[str, str]]:
        try:
            content = json.loads((self.releases / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        history: list[dict[str, str]] = content["history"]
        return history
