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
    (folder / "part-00000").write_text("new, and only half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""

LIVING_WRITER = """
import sys
from pathlib import Path
from intarsia.lake import Lake
with Lake(Path(sys.argv[1])).publish("products") as folder:
    (folder / "part-00000").write_text("of the slow one")
    print(folder, flush=True)
    sys.stdin.readline()
"""
KILLED_KEEPER = """
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


def test_what_was_published_is_current_with_its_digest_and_notes(lake: Lake) -> None:
    notes = {"num_rows": 3}
    with lake.publish("products", notes) as folder:
        (folder / "part-00000").write_text("a")
        notes["num_rows"] = 4  # known at the end only
    entry = lake.current("products")
    assert (entry.name, content_of(entry), entry.notes) == ("products", "a", {"num_rows": 4})
    assert entry.digest == sha256_tree(entry.path)
    assert lake.has("products")


def test_what_was_never_published_is_asked_of_its_job(lake: Lake) -> None:
    assert not lake.has("products")
    with pytest.raises(ArtifactError, match=r"products is not in the lake .*; run the job that makes it"):
        lake.current("products")


def test_a_writer_that_fails_leaves_the_old_version_and_no_scrap(lake: Lake) -> None:
    old = put(lake, "products", "old")
    with pytest.raises(IsADirectoryError, match="Is a directory"), lake.publish("products") as folder:
        (folder / "part-00000").write_text("half") and folder.write_text("no file")
    assert lake.current("products") == old
    assert folders_of(lake, "products") == [old.path]


def test_a_first_writer_that_fails_publishes_nothing(lake: Lake) -> None:
    with pytest.raises(RuntimeError, match="broken"), lake.publish("products"):
        raise RuntimeError("broken")
    assert not lake.has("products")


def test_nothing_of_a_version_is_seen_before_it_is_whole(lake: Lake) -> None:
    old = put(lake, "products", "old")
    with lake.publish("products") as folder:
        (folder / "part-00000").write_text("new")
        assert lake.current("products") == old
    assert content_of(lake.current("products")) == "new"


def test_a_writer_killed_before_it_published_leaves_the_old_version_and_can_be_run_again(lake: Lake) -> None:
    old = put(lake, "products", "old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(lake.root)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert lake.current("products") == old
    assert content_of(old) == "old"
    first = put(lake, "products", "new")
    again = put(lake, "products", "new")
    assert content_of(first) == "new"
    assert again == first


def test_a_writer_killed_between_its_folder_and_the_pointer_is_finished_by_the_next_run(lake: Lake) -> None:
    new = put(lake, "products", "new")
    old = put(lake, "products", "old")
    assert new.path.is_dir()  # the folder lies there whole, and the pointer names the old one: as such a kill leaves it
    assert lake.current("products") == old
    assert put(lake, "products", "new") == new


def test_what_a_killed_writer_staging_folders_goes_with_the_next_one(lake: Lake) -> None:
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(lake.root)], check=False, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        assert len(staging_folders(lake, "products")) == 1  # the second writer took away what the first had left
    put(lake, "products", "new")
    assert staging_folders(lake, "products") == []


def test_what_a_living_writer_fills_is_left_to_it(lake: Lake) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LIVING_WRITER, str(lake.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as living:
        assert living.stdout is not None
        folder = Path(living.stdout.readline().strip())
        for path in (*folder.rglob("*"), folder, *folder.parent.iterdir(), folder.parent):
            os.utime(path, (A_DAY_AGO_S, A_DAY_AGO_S))  # however slow it is
        put(lake, "products", "of the quick one")
        assert (folder / "part-00000").read_text() == "of the slow one"
        living.communicate("\n", timeout=60)
    assert living.returncode == 0
    assert content_of(lake.current("products")) == "of the slow one"
    assert staging_folders(lake, "products") == []


def test_two_writers_of_one_process_do_not_take_each_other_for_dead(lake: Lake) -> None:
    with lake.publish("products") as outer:
        (outer / "part-00000").write_text("outer")
        put(lake, "products", "inner")
    assert content_of(lake.current("products")) == "outer"


@pytest.mark.parametrize("writer", [None, "", "another-boot 7"], ids=["no lock", "no name", "of another machine"])
def test_what_a_writer_left_of_whom_nothing_is_known_goes_after_a_day_without_a_write(
    lake: Lake, writer: str | None
) -> None:
    young = leave_staging(lake, writer=writer, at_s=time.time())
    put(lake, "products", "a")
    assert young.exists()
    for path in (*young.rglob("*"), young):
        os.utime(path, (A_DAY_AGO_S, A_DAY_AGO_S))
    (young / "filled" / "part-00001").write_text("still at work")
    put(lake, "products", "b")
    assert young.exists()
    shutil.rmtree(young)
    old = leave_staging(lake, writer=writer, at_s=A_DAY_AGO_S)
    put(lake, "products", "c")
    assert not old.exists()


def test_a_lock_that_is_held_is_believed_however_old_it_is(lake: Lake) -> None:
    old = leave_staging(lake, writer="another-boot 7", at_s=A_DAY_AGO_S)
    with (old / "writer.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        put(lake, "products", "a")
        assert old.exists()
    put(lake, "products", "b")
    assert not old.exists()


def test_where_the_system_has_no_boot_id_the_day_decides(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(lake.root)], check=False, timeout=60)
    monkeypatch.setattr("intarsia.lake._BOOT_ID", lake.root / "none")
    put(lake, "products", "a")
    (left,) = staging_folders(lake, "products")
    for path in (*left.rglob("*"), left):
        os.utime(path, (A_DAY_AGO_S, A_DAY_AGO_S))
    put(lake, "products", "b")
    assert staging_folders(lake, "products") == []


def test_the_same_content_is_the_same_version(lake: Lake) -> None:
    first, again = put(lake, "products", "a"), put(lake, "products", "a")
    assert first == again
    assert folders_of(lake, "products") == [first.path]


def test_a_torn_version_folder_is_made_whole_by_publishing_again(lake: Lake) -> None:
    entry = put(lake, "products", "whole")
    (entry.path / "part-00000").write_text("torn")
    again = put(lake, "products", "whole")
    assert again == entry
    assert content_of(again) == "whole"


def test_a_version_whose_files_are_gone_says_to_run_its_job_again(lake: Lake) -> None:
    entry = put(lake, "products", "a")
    (entry.path / "part-00000").unlink()
    entry.path.rmdir()
    with pytest.raises(
        ArtifactError, match=rf"products version {entry.path.name} .* its files are gone; run its job again"
    ):
        lake.current("products")
    assert content_of(put(lake, "products", "a")) == "a"


def test_a_reader_keeps_the_version_before_and_older_ones_go(lake: Lake) -> None:
    a, b, c = (put(lake, "products", text) for text in "abc")
    assert not a.path.exists()
    assert (content_of(b), content_of(c)) == ("b", "c")


def test_the_kept_version_is_the_one_that_was_current_last_not_the_one_written_last(lake: Lake) -> None:
    a = put(lake, "products", "a")
    os.utime(a.path, (1.0, 1.0))
    b = put(lake, "products", "b")
    os.utime(b.path, (2.0, 2.0))
    put(lake, "products", "a")  # an old config again: its version still lies there
    put(lake, "products", "c")
    assert content_of(a) == "a"
    assert not b.path.exists()


def test_entries_do_not_touch_each_other(lake: Lake) -> None:
    products, events = put(lake, "products", "a"), put(lake, "events", "b")
    assert (lake.current("products"), lake.current("events")) == (products, events)


def test_json_is_readable_ordered_and_ends_its_line(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"b": "红", "a": [1]})
    text = (tmp_path / "deep" / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": [1], "b": "红"}
    assert text.index('"a"') < text.index('"b"')
    assert "红" in text
    assert text.endswith("}\n")


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_keeper_left_is_found_under_its_identity_and_gone_when_it_ended_well(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_KEEPER, str(tmp_path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(IsADirectoryError), resumable_dir(tmp_path, "fit", "one") as folder:
        folder.write_text("no file")
    with resumable_dir(tmp_path, "fit", "one") as folder:
        assert (folder / "step").read_text() == "7"
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_with_nothing_kept_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), resumable_dir(tmp_path, "fit", "one") as folder:
        folder.write_text("no file")
    assert list(tmp_path.iterdir()) == []


def test_what_was_kept_under_another_identity_goes_unless_its_writer_lives(tmp_path: Path) -> None:
    for left in (".fit-old", ".fitting-old"):
        (tmp_path / left).mkdir()
    with resumable_dir(tmp_path, "fit", "one"), resumable_dir(tmp_path, "fit", "two"):
        assert {path.name for path in tmp_path.iterdir()} == {".fit-one", ".fit-two", ".fitting-old"}


def test_two_writers_of_one_identity_are_one_too_many(tmp_path: Path) -> None:
    with resumable_dir(tmp_path, "fit", "one") as folder:
        again = resumable_dir(tmp_path, "fit", "one")
        with pytest.raises(ArtifactError, match=r"another process writes fit in .* just now; wait for it, or stop it"):
            again.__enter__()
        assert folder.is_dir()


def test_what_a_living_writer_keeps_stays_however_old_it_is(tmp_path: Path) -> None:
    with resumable_dir(tmp_path, "fit", "one") as folder:
        (folder / "step").write_text("7")
        for path in (folder / "step", folder / "writer.lock", folder):
            os.utime(path, (0, 0))
        with resumable_dir(tmp_path, "fit", "other"):
            assert (folder / "step").exists()


def test_a_writer_whose_folder_was_taken_away_fails_with_its_own_error(tmp_path: Path) -> None:
    def write() -> None:
        with resumable_dir(tmp_path, "fit", "one") as folder:
            shutil.rmtree(folder)
            raise RuntimeError("its own error")

    with pytest.raises(RuntimeError, match="its own error"):
        write()


def test_where_the_file_system_has_no_locks_what_is_kept_is_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*args: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with resumable_dir(tmp_path, "fit", "one") as folder:
        (folder / "step").write_text("7")
        with resumable_dir(tmp_path, "fit", "other"):
            assert (folder / "step").exists(), "nobody can tell whether its writer lives"
        for path in (folder / "step", folder / "writer.lock", folder):
            os.utime(path, (0, 0))
        with resumable_dir(tmp_path, "fit", "other"):
            assert not folder.exists(), "what is days old has no writer"
        folder.mkdir()
    assert list(tmp_path.iterdir()) == []
