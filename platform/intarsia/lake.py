"""The place at rest: named tables and artefacts in one folder, each published whole or not at all.

`<root>/<name>/<digest>/…` holds one version, `<root>/<name>/current.json` names the one that counts. A writer fills a folder aside, renames
it, then replaces the small pointer file, so a reader sees the old version or the new one, never a half. What is in the files is
`tables/`'s and the organs' matter.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from intarsia.errors import ArtifactError
from intarsia.ids import sha256_tree, short

_POINTER = "current.json"
_STAGING = ".staging-"
_LOCK, _FILLED = "writer.lock", "filled"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux only; elsewhere the day decides
_DAY_S = 86_400
_KEPT_VERSIONS = 2  # the current one and the one a running reader may still hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One published version of a table or artefact: where it lies, the sha256 of its files, and what its writer noted."""

    name: str
    path: Path
    digest: str
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lake:
    """A folder of named entries; on a cluster a folder that every node mounts."""

    root: Path

    def current(self, name: str) -> Entry:
        """The version of `name` that counts.

        Raises:
            ArtifactError: nothing of that name was published, or its files are gone.
        """
        pointer = self.root / name / _POINTER
        try:
            content = json.loads(pointer.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtifactError(
                f"{name} is not in the lake {self.root}; run the job that makes it (python -m pipelines)"
            ) from None
        path = self.root / name / content["version"]
        if not path.is_dir():
            raise ArtifactError(
                f"{name} version {content['version']} is named by {pointer} but its files are gone; run its job again"
            )
        return Entry(name=name, path=path, digest=content["digest"], notes=content["notes"])

    def has(self, name: str) -> bool:
        """Whether some version of `name` was published."""
        return (self.root / name / _POINTER).is_file()

    @contextmanager
    def publish(self, name: str, notes: dict[str, Any] | None = None) -> Iterator[Path]:
        """A fresh folder to fill; on leaving without an error it becomes the current version of `name`.

        Args:
            name: table or artefact.
            notes: JSON-able facts kept beside the pointer; may be filled until the block ends.
        """
        home = self.root / name
        with staging_dir(home) as filled:
            yield filled
            digest = sha256_tree(filled)
            version = home / short(digest)
            if version.exists() and sha256_tree(version) != digest:
                shutil.rmtree(version)  # torn by a crash of an earlier time
            if not version.exists():
                filled.rename(version)
            os.utime(version)  # its age is when it last became current: see _drop_old_versions
            write_json(home / _POINTER, {"version": version.name, "digest": digest, "notes": notes or {}})
        self._drop_old_versions(home, version)

    def _drop_old_versions(self, home: Path, current: Path) -> None:
        versions = [p for p in home.iterdir() if p.is_dir() and not p.name.startswith(".")]
        others = sorted((p for p in versions if p != current), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in others[_KEPT_VERSIONS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def staging_dir(home: Path) -> Iterator[Path]:
    """An empty folder below `home` to fill and rename into place; what was not renamed is gone when the block ends.

    Beside it lies a lock that its writer holds; the system takes it back however the writer dies. What dead writers left in `home` is
    removed first.
    """
    home.mkdir(parents=True, exist_ok=True)
    _drop_left_aside(home)
    staging = home / f"{_STAGING}{uuid.uuid4().hex}"
    (staging / _FILLED).mkdir(parents=True)
    try:
        with (staging / _LOCK).open("wb", buffering=0) as lock:
            if _took(lock, fcntl.LOCK_EX):
                lock.write(_writer().encode())  # once it is held: an open lock under a name means a death
            yield staging / _FILLED
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def resumable_dir(home: Path, name: str, identity: str) -> Iterator[Path]:
    """A folder below `home` that outlives its writer's death: the next one of equal name and identity finds it as it was left.

    It is gone when the block ends without an error, or with nothing in it. What writers of other identities left under the name is
    removed first, unless one is still at work.

    Raises:
        ArtifactError: another writer of this identity is at work.
    """
    place = home / f".{name}-{identity}"
    for other in home.glob(f".{name}-*"):
        if other != place:
            with suppress(OSError), _held(other) as is_sure:  # a held one is passed over
                if is_sure or _is_old(other):
                    shutil.rmtree(other, ignore_errors=True)
    with ExitStack() as held:
        try:
            held.enter_context(_held(place))
        except BlockingIOError:
            raise ArtifactError(f"another process writes {name} in {home} just now; wait for it, or stop it") from None
        has_ended = False
        try:
            yield place
            has_ended = True
        finally:
            if has_ended or {path.name for path in place.glob("*")} <= {_LOCK}:
                shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """While open, nobody else holds the folder, which is made; the system lets it go however its holder dies.

    Whether that is sure is told: there are file systems without locks.

    Raises:
        BlockingIOError: another one holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_sure = True
        except BlockingIOError:
            raise
        except OSError:
            is_sure = False
        yield is_sure


def _drop_left_aside(home: Path) -> None:
    for staging in home.glob(f"{_STAGING}*"):
        try:
            with (staging / _LOCK).open("r+", errors="replace") as lock:  # NFS locks only what is open for writing
                is_dead = _is_dead(lock.read(), staging) and _took(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:  # being made just now, or left by a version of this code that held no lock
            is_dead = _is_old(staging)
        except OSError:  # another user's
            continue
        if is_dead:
            shutil.rmtree(staging, ignore_errors=True)


def _is_dead(writer: str, staging: Path) -> bool:
    """Whether a writer whose lock is open is dead: of this boot for certain, from elsewhere (its lock may not reach us) after a day."""
    if writer == _writer():  # some file systems give a process its own lock twice
        return False
    boot, _, _ = writer.partition(" ")
    return boot == _boot() or _is_old(staging)


def _is_old(staging: Path) -> bool:
    try:
        newest_s = max(path.stat().st_mtime for path in (staging, *staging.rglob("*")))
    except FileNotFoundError:  # somebody is at work in it
        return False
    return time.time() - newest_s > _DAY_S


def _took(lock: IO[Any], how: int) -> bool:
    try:
        fcntl.flock(lock, how)
    except OSError:  # another one holds it, or this file system has no locks
        return False
    return True


def _writer() -> str:
    return f"{_boot()} {os.getpid()}"


def _boot() -> str:
    """The running system since its start, the same in all its containers; where it has no name, one that no other writer has."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"unnamed-{uuid.uuid4().hex}"


def write_json(path: Path, value: object) -> None:
    """Write a small JSON file aside and move it into place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
