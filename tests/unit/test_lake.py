from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from intarsia.errors import ArtifactError
from intarsia.ids import sha256_tree
from intarsia.lake import Entry, Lake, write_json

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from intarsia.lake import Lake
with Lake(Path(sys.argv[1])).publish("products") as folder:
    (folder / "part-00000").write_text("new, and only half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def put(lake: Lake, name: str, content: str) -> Entry:
    with lake.publish(name) as folder:
        (folder / "part-00000").write_text(content)
    return lake.current(name)


def content_of(entry: Entry) -> str:
    return (entry.path / "part-00000").read_text()


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
