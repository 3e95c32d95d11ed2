"""Which release is live, which were live before, and which was staged last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from intarsia.errors import ArtifactError
from intarsia.ids import ReleaseId
from intarsia.lake import Lake, read_json_object, write_json
from intarsia.release.manifest import Manifest

POINTER_FILE = "live.json"
ROLL_BACK = "previous"
STAGED_ENTRY = "staged_release"
"""The lake entry that holds the id of the release that was staged last."""
_STAGED_FILE = "release.json"
_MAX_HISTORY = 20


@dataclass(frozen=True, slots=True)
class Pointer:
    """The pointer to the live release in a folder of releases: one small file, replaced atomically."""

    releases: Path

    def live(self) -> ReleaseId | None:
        """The live release; None before the first promotion."""
        history = self._history()
        return ReleaseId(history[-1]["release_id"]) if history else None

    def live_folder(self) -> Path:
        """The folder of the live release.

        Raises:
            ArtifactError: no release was promoted yet.
        """
        live = self.live()
        if live is None:
            raise ArtifactError(f"no release is live in {self.releases}; run `intarsia run` or `intarsia promote`")
        return self.releases / live

    def previous(self) -> ReleaseId:
        """The release to roll back to: the predecessor of the live one, never one that was itself rolled back.

        Raises:
            ArtifactError: there is none, or its folder is gone.
        """
        for release_id in reversed(self._lineage()[:-1]):
            if (self.releases / release_id).is_dir():
                return ReleaseId(release_id)
        raise ArtifactError(f"no earlier release to go back to in {self.releases}; promote another one first")

    def was_rolled_back(self, release_id: ReleaseId) -> bool:
        """Whether the most recent moves were roll-backs away from this release."""
        history = self._history()
        while len(history) > 1 and history.pop()["why"] == ROLL_BACK:
            if history[-1]["release_id"] == release_id:
                return True
        return False

    def move(self, release_id: ReleaseId, *, at: datetime, why: str) -> None:
        """Make a release live; a reader sees the old pointer or the new one, never a mixture."""
        step = {"release_id": release_id, "at": at.isoformat(), "why": why}
        write_json(self.releases / POINTER_FILE, {"history": [*self._history(), step][-_MAX_HISTORY:]})

    def _lineage(self) -> list[str]:
        """The releases that led to the live one, each once, oldest first, without those that a roll-back left."""
        lineage: list[str] = []
        for step in self._history():
            release_id = step["release_id"]
            if step["why"] == ROLL_BACK and release_id in lineage:
                lineage = lineage[: lineage.index(release_id)]
            lineage = [*(earlier for earlier in lineage if earlier != release_id), release_id]
        return lineage

    def _history(self) -> list[dict[str, str]]:
        path, fix = self.releases / POINTER_FILE, "remove the file and promote a release"
        try:
            content = read_json_object(path, ("history",), fix=fix)
        except FileNotFoundError:
            return []
        history: list[dict[str, str]] = content["history"]
        if not isinstance(history, list) or not all(_is_step(step) for step in history):
            raise ArtifactError(f"{path} is damaged: its history is not a list of releases. Fix: {fix}")
        return history


def _is_step(step: object) -> bool:
    return isinstance(step, dict) and all(isinstance(step.get(key), str) for key in ("release_id", "at", "why"))


def write_staged(folder: Path, release_id: ReleaseId) -> None:
    """Write the staged release's id into the folder of the lake entry `staged_release`."""
    write_json(folder / _STAGED_FILE, {"release_id": release_id})


def read_staged(lake: Lake) -> ReleaseId:
    """The release that was staged last.

    Raises:
        ArtifactError: none was staged.
    """
    path = lake.current(STAGED_ENTRY).path / _STAGED_FILE
    try:
        content = read_json_object(path, ("release_id",), fix="run stage_release with --force")
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Fix: run stage_release with --force") from None
    return ReleaseId(content["release_id"])


def release_to_compare(lake: Lake) -> ReleaseId | None:
    """The release to compare the staged one with; None if there is none.

    It is the live release, or the parent of the staged release if that is live itself.
    """
    releases = lake.root / "releases"
    staged, live = read_staged(lake), Pointer(releases).live()
    if live != staged:
        return live
    parent = Manifest.open(releases / staged).parent
    return ReleaseId(parent) if parent is not None else None
