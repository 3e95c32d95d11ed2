"""The lake: versioned tables and artefacts in one folder. Each version is published whole or not at all.

`<root>/<name>/<digest>/...` holds one version; `<root>/<name>/current.json` names the current one. A writer fills a
staging folder, renames it, then replaces the small pointer file, so a reader sees the old version or the new one,
never a part of one. The formats of the files are defined by `tables/` and by the packages that write artefacts.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from intarsia.errors import ArtifactError
from intarsia.ids import sha256_tree, short

_POINTER = "current.json"
_STAGING = ".staging-"
_LOCK, _WRITER, _FILES = "writer.lock", "writer", "filled"  # in a staging folder
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux only; elsewhere abandoned folders are removed by age
_DAY_S = 86_400
_KEPT_VERSIONS = 2  # the current one, and the one that a running reader may have open


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One published version of a table or artefact: its folder, the sha256 of its files, and its writer's notes."""

    name: str
    path: Path
    digest: str
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lake:
    """A folder of named entries; on a cluster a folder that every node mounts.

    >>> import tempfile
    >>> lake = Lake(Path(tempfile.mkdtemp()))
    >>> with lake.publish("products", {"num_rows": 1}) as folder:
    ...     _ = (folder / "part-00000").write_text("one product")
    >>> lake.current("products").notes
    {'num_rows': 1}
    """

    root: Path

    def current(self, name: str) -> Entry:
        """The current version of `name`.

        Raises:
            ArtifactError: nothing was published under that name, or the files of the current version are missing.
        """
        pointer = self.root / name / _POINTER
        try:
            content = read_json_object(
                pointer, ("version", "digest", "notes"), fix=f"run the job that makes {name} again"
            )
        except FileNotFoundError:
            raise ArtifactError(
                f"{name} is not in the lake {self.root}; run the job that makes it (`intarsia jobs` lists them)"
            ) from None
        path = self.root / name / content["version"]
        if not path.is_dir():
            raise ArtifactError(
                f"{name} version {content['version']} is named by {pointer} but its files are gone; run its job again"
            )
        return Entry(name=name, path=path, digest=content["digest"], notes=content["notes"])

    def has(self, name: str) -> bool:
        """Whether any version of `name` was published."""
        return (self.root / name / _POINTER).is_file()

    @contextmanager
    def publish(self, name: str, notes: dict[str, Any] | None = None) -> Iterator[Path]:
        """Yield an empty folder to fill; if the block ends without an error, the folder becomes the current version of
        `name`.

        Args:
            name: table or artefact.
            notes: JSON facts kept in the pointer file; may be changed until the block ends.
        """
        home = self.root / name
        with staging_dir(home) as files:
            yield files
            digest = sha256_tree(files)
            version = home / short(digest)
            if version.exists() and sha256_tree(version) != digest:
                shutil.rmtree(version)  # damaged by an earlier crash
            if not version.exists():
                files.rename(version)
            os.utime(version)  # the time at which it last became current: see _drop_old_versions
            write_json(home / _POINTER, {"version": version.name, "digest": digest, "notes": notes or {}})
        self._drop_old_versions(home, version)

    def _drop_old_versions(self, home: Path, current: Path) -> None:
        versions = [p for p in home.iterdir() if p.is_dir() and not p.name.startswith(".")]
        others = sorted((p for p in versions if p != current), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in others[_KEPT_VERSIONS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def staging_dir(home: Path) -> Iterator[Path]:
    """Yield an empty folder below `home` to fill and rename; it is removed when the block ends, unless it was renamed.

    Its writer holds a lock, which the system releases when the writer dies. Staging folders of dead writers in `home`
    are removed first.
    """
    home.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(home)
    staging = home / f"{_STAGING}{uuid.uuid4().hex}"
    (staging / _FILES).mkdir(parents=True)
    try:
        with _exclusive_lock(staging / _LOCK, wait=True) as is_locked:
            if is_locked:  # written under the lock: a name with a free lock means that the writer died
                (staging / _WRITER).write_text(_this_writer(), encoding="utf-8")
            yield staging / _FILES
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def resumable_dir(home: Path, name: str, identity: str) -> Iterator[Path]:
    """Yield a folder below `home` that survives its writer's death: the next writer of equal name and identity
    continues in it.

    The folder is removed when the block ends without an error, or when it is empty. Folders of the same name and
    another identity are removed first, unless their writer is running.

    Raises:
        ArtifactError: another writer of this identity is running.
    """
    folder = home / f".{name}-{identity}"
    for other in home.glob(f".{name}-*"):
        if other != folder:
            with suppress(OSError), _exclusive_lock(other / _LOCK) as is_locked:  # a locked one is in use
                if is_locked or _is_old(other):
                    shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lock:
        try:
            lock.enter_context(_exclusive_lock(folder / _LOCK))
        except Timeout:
            raise ArtifactError(f"another process writes {name} in {home} just now; wait for it, or stop it") from None
        has_succeeded = False
        try:
            yield folder
            has_succeeded = True
        finally:
            if has_succeeded or {path.name for path in folder.glob("*")} <= {_LOCK}:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _exclusive_lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock on the file `path`, which is created; the system releases it however the holder dies.

    Yields True if the lock is held, False if the file system has no locks.

    Raises:
        Timeout: another process holds it, and `wait` is false.
    """
    # without fallback_to_soft: a soft lock would outlive a killed holder
    lock = FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        lock.acquire()
        is_locked = True
    except Timeout:
        raise
    except OSError:
        is_locked = False
    try:
        yield is_locked
    finally:
        lock.release()


def _remove_abandoned(home: Path) -> None:
    for staging in home.glob(f"{_STAGING}*"):
        try:
            if not (staging / _LOCK).exists():  # its writer is about to lock it, or died before it could
                is_abandoned = _is_old(staging)
            else:
                with _exclusive_lock(staging / _LOCK) as is_locked:
                    is_abandoned = is_locked and _is_writer_dead(staging)
        except OSError:  # locked (Timeout), removed meanwhile, or another user's
            continue
        if is_abandoned:
            shutil.rmtree(staging, ignore_errors=True)


def _is_writer_dead(staging: Path) -> bool:
    """Whether the writer of a staging folder with a free lock is dead.

    Certain if it ran on this machine since its last boot. The lock of another machine may not be visible here: its
    folder counts as abandoned after a day without a write.
    """
    try:
        writer = (staging / _WRITER).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        writer = ""
    if writer == _this_writer():  # some file systems grant a process its own lock twice
        return False
    boot_id, _, _ = writer.partition(" ")
    return boot_id == _boot_id() or _is_old(staging)


def _is_old(folder: Path) -> bool:
    try:
        newest_s = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:  # a writer is changing it
        return False
    return time.time() - newest_s > _DAY_S


def _this_writer() -> str:
    return f"{_boot_id()} {os.getpid()}"


def _boot_id() -> str:
    """Identifies the running system since its boot, equal in all containers; random if the system has no such id."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"unnamed-{uuid.uuid4().hex}"


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file under another name, then rename it, so that a reader sees the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json_object(path: Path, keys: Collection[str], *, fix: str) -> dict[str, Any]:
    """Read a small JSON file whose content is an object that has all of `keys`.

    Raises:
        FileNotFoundError: there is no such file.
        ArtifactError: it cannot be read, or it holds something else; the message ends with `fix`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}. Fix: {fix}") from None
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path} is damaged: it is not JSON. Fix: {fix}") from None
    if not isinstance(content, dict) or not set(keys) <= set(content):
        raise ArtifactError(f"{path} is damaged: it is not a JSON object with {', '.join(keys)}. Fix: {fix}")
    return content


def write_json(path: Path, value: object) -> None:
    """Write a small JSON file with `replace_file`."""
    replace_file(path, (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode())
