from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from intarsia.ids import sha256_bytes, sha256_file, sha256_json, sha256_tree, short

# sha256 of no bytes at all, FIPS 180-4's own example
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = b"x" * ((1 << 20) + 7)
    write(tmp_path, {"long": content, "empty": b""})
    assert sha256_file(tmp_path / "long") == sha256_bytes(content) == hashlib.sha256(content).hexdigest()
    assert sha256_file(tmp_path / "empty") == EMPTY


def test_the_tree_digest_of_a_file_is_its_file_digest(tmp_path: Path) -> None:
    write(tmp_path, {"a": b"1"})
    assert sha256_tree(tmp_path / "a") == sha256_bytes(b"1")


def test_a_tree_digest_does_not_depend_on_the_location_or_the_time(tmp_path: Path) -> None:
    first = write(tmp_path / "first", {"b": b"2", "a/x": b"1"})
    second = write(tmp_path / "second", {"a/x": b"1", "b": b"2"})
    assert sha256_tree(first) == sha256_tree(second)


def test_every_change_of_a_tree_changes_its_digest(tmp_path: Path) -> None:
    trees: list[dict[str, bytes]] = [
        {"a/x": b"1", "b": b"2"},
        {"a/x": b"1", "b": b"3"},  # content
        {"a/x": b"1", "c": b"2"},  # name
        {"a/x": b"2", "b": b"1"},  # contents changed places
        {"x": b"1", "b": b"2"},  # folder
        {"a/x": b"1", "b": b"2", "c": b""},  # an empty file more
        {},
    ]
    folders = [tmp_path / str(i) for i in range(len(trees))]
    for folder, files in zip(folders, trees, strict=True):
        folder.mkdir()
        write(folder, files)
    assert len({sha256_tree(folder) for folder in folders}) == len(trees)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers() | st.text("aé红")))
def test_the_order_of_a_mapping_does_not_change_its_digest(values: dict[str, object]) -> None:
    backwards = dict(reversed(values.items()))
    assert sha256_json(values) == sha256_json(backwards)


def test_json_digests_of_similar_values_differ() -> None:
    values: list[object] = [1, "1", 1.0, [1], {"1": 1}, None, True, "红", {}, []]
    assert len({sha256_json(value) for value in values}) == len(values)


def test_short_is_the_first_twelve_digits() -> None:
    assert short(EMPTY) == "e3b0c44298fc"
