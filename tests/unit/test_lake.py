from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from intarsia.errors import ArtifactError
from intarsia.ids import sha256_tree
from intarsia.lake import Entry, Lake, resumable_dir, write_json

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from intarsia.lake import Lake
with Lake(Path(sys.argv[1])).publish("products") as folder:
    (folder / "part-00000").write_text("half of a version")
    os.kill(os.getpid(), signal.SIGKILL)
"""

RUNNING_WRITER = """
import sys
from pathlib import Path
from intarsia.lake import Lake
with Lake(Path(sys.argv[1])).publish("products") as folder:
    (folder / "part-00000").write_text("of the first writer")
    print(folder, flush=True)
    sys.stdin.readline()
"""
KILLED_RESUMABLE_WRITER = """
import os, signal, sys
from pathlib import Path
from intarsia.lake import resumable_dir
with resumable_dir(Path(sys.argv[1]), "fit", "one") as folder:
    (folder / "step").write_text("7")
    os.kill(os.getpid(), signal.SIGKILL)
"""
A_DAY_AGO_S = time.time() - 86_500


def put(lake: Lake, name: str, content: str) -> Entry:
    with lake.publish(name) as folder:
        (folder / "part-00000").write_text(content)
    return lake.current(name)


def content_of(entry: Entry) -> str:
    return (entry.path / "part-00000").read_text()


def staging_folders(lake: Lake, name: str) -> list[Path]:
    return sorted((lake.root / name).glob(".staging-*"))


def leave_staging(lake: Lake, *, writer: str | None, at_s: float) -> Path:
    """A staging folder of `products` as a dead writer leaves it; without lock file if `writer` is None."""
    folder = lake.root / "products" / f".staging-{writer}"
    (folder / "filled").mkdir(parents=True)
    (folder / "filled" / "part-00000").write_text("half")
    if writer is not None:
        (folder / "writer.lock").touch()
        (folder / "writer").write_text(writer)
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (at_s, at_s))
    return folder


def folders_of(lake: Lake, name: str) -> list[Path]:
    return [path for path in (lake.root / name).iterdir() if path.is_dir()]


def test_a_published_entry_is_current_with_its_digest_and_notes(lake: Lake) -> None:
    notes = {"num_rows": 3}
    with lake.publish("products", notes) as folder:
        (folder / "part-00000").write_text("a")
        notes["num_rows"] = 4  # changed before the block ends
    entry = lake.current("products")
    assert (entry.name, content_of(entry), entry.notes) == ("products", "a", {"num_rows": 4})
    assert entry.digest == sha256_tree(entry.path)
    assert lake.has("products")


def test_an_entry_that_was_never_published_is_an_error(lake: Lake) -> None:
    assert not lake.has("products")
    with pytest.raises(ArtifactError, match=r"products is not in the lake .*; run the job that makes it"):
        lake.current("products")


def test_a_failed_writer_keeps_the_old_version_and_leaves_no_files(lake: Lake) -> None:
    old = put(lake, "products", "old")
    with pytest.raises(IsADirectoryError, match="Is a directory"), lake.publish("products") as folder:
        (folder / "part-00000").write_text("half") and folder.write_text("no file")
    assert lake.current("products") == old
    assert folders_of(lake, "products") == [old.path]


def test_a_failed_first_writer_publishes_nothing(lake: Lake) -> None:
    with pytest.raises(RuntimeError, match="broken"), lake.publish("products"):
        raise RuntimeError("broken")
    assert not lake.has("products")


def test_an_unfinished_version_is_not_visible(lake: Lake) -> None:
    old = put(lake, "products", "old")
    with lake.publish("products") as folder:
        (folder / "part-00000").write_text("new")
        assert lake.current("products") == old
    assert content_of(lake.current("products")) == "new"


def test_a_writer_killed_before_publishing_keeps_the_old_version(lake: Lake) -> None:
    old = put(lake, "products", "old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(lake.root)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert lake.current("products") == old
    assert content_of(old) == "old"
    first = put(lake, "products", "new")
    second = put(lake, "products", "new")
    assert content_of(first) == "new"
    assert second == first


def test_a_complete_version_without_a_pointer_is_published_by_the_next_run(lake: Lake) -> None:
    new = put(lake, "products", "new")
    old = put(lake, "products", "old")
    assert new.path.is_dir()  # complete, but not current: as a kill between rename and pointer leaves it
    assert lake.current("products") == old
    assert put(lake, "products", "new") == new


def test_the_next_writer_removes_the_staging_folder_of_a_killed_one(lake: Lake) -> None:
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(lake.root)], check=False, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        assert len(staging_folders(lake, "products")) == 1  # the second writer removed that of the first
    put(lake, "products", "new")
    assert staging_folders(lake, "products") == []


def test_the_staging_folder_of_a_running_writer_is_kept(lake: Lake) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUNNING_WRITER, str(lake.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        folder = Path(writer.stdout.readline().strip())
        for path in (*folder.rglob("*"), folder, *folder.parent.iterdir(), folder.parent):
            os.utime(path, (A_DAY_AGO_S, A_DAY_AGO_S))  # however old it is
        put(lake, "products", "of the second writer")
        assert (folder / "part-00000").read_text() == "of the first writer"
        writer.communicate("\n", timeout=60)
    assert writer.returncode == 0
    assert content_of(lake.current("products")) == "of the first writer"
    assert staging_folders(lake, "products") == []


def test_two_writers_of_one_process_keep_each_others_staging_folders(lake: Lake) -> None:
    with lake.publish("products") as outer:
        (outer / "part-00000").write_text("outer")
        put(lake, "products", "inner")
    assert content_of(lake.current("products")) == "outer"


@pytest.mark.parametrize("writer", [None, "", "another-boot 7"], ids=["no lock", "no name", "of another machine"])
def test_a_staging_folder_of_unknown_origin_is_removed_after_a_day(lake: Lake, writer: str | None) -> None:
    young = leave_staging(lake, writer=writer, at_s=time.time())
    put(lake, "products", "a")
    assert young.exists()
    for path in (*young.rglob("*"), young):
        os.utime(path, (A_DAY_AGO_S, A_DAY_AGO_S))
    (young / "filled" / "part-00001").write_text("still being written")
    put(lake, "products", "b")
    assert young.exists()
    shutil.rmtree(young)
    old = leave_staging(lake, writer=writer, at_s=A_DAY_AGO_S)
    put(lake, "products", "c")
    assert not old.exists()


def test_a_locked_staging_folder_is_kept_however_old_it_is(lake: Lake) -> None:
    old = leave_staging(lake, writer="another-boot 7", at_s=A_DAY_AGO_S)
    with (old / "writer.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        put(lake, "products", "a")
        assert old.exists()
    put(lake, "products", "b")
    assert not old.exists()


def test_without_a_boot_id_a_staging_folder_is_removed_after_a_day(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(lake.root)], check=False, timeout=60)
    monkeypatch.setattr("intarsia.lake._BOOT_ID", lake.root / "none")
    put(lake, "products", "a")
    (staging,) = staging_folders(lake, "products")
    for path in (*staging.rglob("*"), staging):
        os.utime(path, (A_DAY_AGO_S, A_DAY_AGO_S))
    put(lake, "products", "b")
    assert staging_folders(lake, "products") == []


def test_equal_content_is_the_same_version(lake: Lake) -> None:
    first, second = put(lake, "products", "a"), put(lake, "products", "a")
    assert first == second
    assert folders_of(lake, "products") == [first.path]


def test_publishing_again_repairs_a_damaged_version(lake: Lake) -> None:
    entry = put(lake, "products", "complete")
    (entry.path / "part-00000").write_text("damaged")
    repaired = put(lake, "products", "complete")
    assert repaired == entry
    assert content_of(repaired) == "complete"


def test_a_version_with_missing_files_is_an_error(lake: Lake) -> None:
    entry = put(lake, "products", "a")
    (entry.path / "part-00000").unlink()
    entry.path.rmdir()
    with pytest.raises(
        ArtifactError, match=rf"products version {entry.path.name} .* its files are gone; run its job again"
    ):
        lake.current("products")
    assert content_of(put(lake, "products", "a")) == "a"


def test_the_previous_version_is_kept_and_older_ones_are_removed(lake: Lake) -> None:
    a, b, c = (put(lake, "products", text) for text in "abc")
    assert not a.path.exists()
    assert (content_of(b), content_of(c)) == ("b", "c")


def test_the_version_that_was_current_last_is_kept(lake: Lake) -> None:
    a = put(lake, "products", "a")
    os.utime(a.path, (1.0, 1.0))
    b = put(lake, "products", "b")
    os.utime(b.path, (2.0, 2.0))
    put(lake, "products", "a")  # as with an old config: its version still exists
    put(lake, "products", "c")
    assert content_of(a) == "a"
    assert not b.path.exists()


def test_entries_are_independent(lake: Lake) -> None:
    products, events = put(lake, "products", "a"), put(lake, "events", "b")
    assert (lake.current("products"), lake.current("events")) == (products, events)


def test_json_is_sorted_indented_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"b": "红", "a": [1]})
    text = (tmp_path / "deep" / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": [1], "b": "红"}
    assert text.index('"a"') < text.index('"b"')
    assert "红" in text
    assert text.endswith("}\n")


def test_a_value_that_is_not_json_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_resumable_dir_survives_a_kill_and_is_removed_on_success(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_RESUMABLE_WRITER, str(tmp_path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(IsADirectoryError), resumable_dir(tmp_path, "fit", "one") as folder:
        folder.write_text("no file")
    with resumable_dir(tmp_path, "fit", "one") as folder:
        assert (folder / "step").read_text() == "7"
    assert list(tmp_path.iterdir()) == []


def test_an_empty_resumable_dir_is_removed_on_failure(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), resumable_dir(tmp_path, "fit", "one") as folder:
        folder.write_text("no file")
    assert list(tmp_path.iterdir()) == []


def test_resumable_dirs_of_other_identities_are_removed_unless_in_use(tmp_path: Path) -> None:
    for name in (".fit-old", ".fitting-old"):
        (tmp_path / name).mkdir()
    with resumable_dir(tmp_path, "fit", "one"), resumable_dir(tmp_path, "fit", "two"):
        assert {path.name for path in tmp_path.iterdir()} == {".fit-one", ".fit-two", ".fitting-old"}


def test_a_second_writer_of_one_identity_is_refused(tmp_path: Path) -> None:
    with resumable_dir(tmp_path, "fit", "one") as folder:
        second = resumable_dir(tmp_path, "fit", "one")
        with pytest.raises(ArtifactError, match=r"another process writes fit in .* just now; wait for it, or stop it"):
            second.__enter__()
        assert folder.is_dir()


def test_a_resumable_dir_in_use_is_kept_however_old_it_is(tmp_path: Path) -> None:
    with resumable_dir(tmp_path, "fit", "one") as folder:
        (folder / "step").write_text("7")
        for path in (folder / "step", folder / "writer.lock", folder):
            os.utime(path, (0, 0))
        with resumable_dir(tmp_path, "fit", "other"):
            assert (folder / "step").exists()


def test_an_error_of_the_writer_is_raised_although_its_folder_is_gone(tmp_path: Path) -> None:
    def write() -> None:
        with resumable_dir(tmp_path, "fit", "one") as folder:
            shutil.rmtree(folder)
            raise RuntimeError("its own error")

    with pytest.raises(RuntimeError, match="its own error"):
        write()


def test_resumable_dirs_work_on_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*args: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with resumable_dir(tmp_path, "fit", "one") as folder:
        (folder / "step").write_text("7")
        with resumable_dir(tmp_path, "fit", "other"):
            assert (folder / "step").exists(), "its writer may be running"
        for path in (folder / "step", folder / "writer.lock", folder):
            os.utime(path, (0, 0))
        with resumable_dir(tmp_path, "fit", "other"):
            assert not folder.exists(), "after a day without a write it has no writer"
        folder.mkdir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": "x"}', b"\xff"])
def test_a_damaged_pointer_is_an_error(lake: Lake, content: bytes) -> None:
    (lake.root / "texts").mkdir(parents=True)
    (lake.root / "texts" / "current.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"texts/current\.json is damaged: it is not .*Fix: run the job that makes"):
        lake.current("texts")


def test_a_pointer_that_cannot_be_read_is_an_error(lake: Lake) -> None:
    (lake.root / "texts" / "current.json").mkdir(parents=True)
    with pytest.raises(ArtifactError, match=r"current\.json cannot be read: Is a directory\. Fix: "):
        lake.current("texts")
