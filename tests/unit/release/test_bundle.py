from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.engine.search import PARTS
from intarsia.errors import ArtifactError
from intarsia.ids import sha256_file
from intarsia.lake import Lake
from intarsia.release.bundle import open_bundle, verify, write_bundle
from intarsia.release.manifest import SCHEMA_VERSION, Manifest
from tests.unit.release.bundles import PROVENANCE, put_bundle, put_parts

KEEPS_ITS_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from intarsia.lake import staging_dir
with staging_dir(Path(sys.argv[1])) as folder:
    (folder / "ranker").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def overwrite(path: Path, content: bytes) -> None:
    """Replace a file; the lake's file, which may be hard-linked to it, does not change."""
    path.unlink()
    path.write_bytes(content)


def test_a_manifest_lists_every_file_with_its_digest(lake: Lake) -> None:
    folder, manifest = put_bundle(lake)
    assert folder.name == manifest.release_id == manifest.id
    assert manifest.release_id.startswith("r-")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted(PARTS)
    listed = {path.relative_to(folder).as_posix() for path in files_of(folder)}
    assert listed - set(manifest.files) == {"manifest.json", "manifest.sha256"}
    for name, file in manifest.files.items():
        assert (file.bytes, file.sha256) == ((folder / name).stat().st_size, sha256_file(folder / name))
    assert manifest.parts == {name: lake.current(name).digest for name in PARTS}
    assert (manifest.created_at, manifest.stats_as_of) == ("2026-01-01T00:00:00+00:00", "2025-12-31T00:00:00+00:00")


def test_an_unchanged_bundle_verifies(lake: Lake) -> None:
    folder, manifest = put_bundle(lake)
    assert verify(folder) == Manifest.open(folder) == manifest


def test_sha256sum_can_check_the_manifest(lake: Lake) -> None:
    folder, _ = put_bundle(lake)
    checked = subprocess.run(["sha256sum", "--check", "manifest.sha256"], cwd=folder, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, b"manifest.json: OK\n")


def test_the_same_parts_are_the_same_release_and_written_once(lake: Lake) -> None:
    folder, manifest = put_bundle(lake)
    written_at = (folder / "manifest.json").stat().st_mtime_ns
    again = write_bundle(folder.parent, put_parts(lake), replace(PROVENANCE, git_commit="1" * 40))
    assert again == manifest
    assert (folder / "manifest.json").stat().st_mtime_ns == written_at


def test_other_parts_or_other_features_are_another_release(lake: Lake) -> None:
    _, first = put_bundle(lake)
    folder, second = put_bundle(lake, ranker="another ranker")
    third = write_bundle(folder.parent, put_parts(lake), replace(PROVENANCE, feature_fingerprint="e" * 64))
    assert len({first.release_id, second.release_id, third.release_id}) == 3
    assert verify(folder.parent / first.release_id) == first  # the older release did not change


def test_a_damaged_release_is_written_again_from_the_lake(lake: Lake) -> None:
    folder, manifest = put_bundle(lake)
    overwrite(folder / "ranker" / "ranker.bin", b"torn")
    again = write_bundle(folder.parent, put_parts(lake), PROVENANCE)
    assert again == manifest == verify(folder)


def test_a_changed_lake_file_is_not_released(lake: Lake) -> None:
    entries = put_parts(lake)
    overwrite(entries["ranker"].path / "ranker.bin", b"changed")
    releases = lake.root / "releases"
    with pytest.raises(
        ArtifactError, match=r"ranker in the lake .* has changed since it was published; run its job with --force"
    ):
        write_bundle(releases, entries, PROVENANCE)
    assert list(releases.iterdir()) == []


def test_a_bundle_without_all_parts_fails_an_assertion(lake: Lake) -> None:
    entries = put_parts(lake)
    entries.pop("ranker")
    with pytest.raises(AssertionError, match="a bundle has all parts and no others"):
        write_bundle(lake.root / "releases", entries, PROVENANCE)


def test_files_are_copied_if_they_cannot_be_linked(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(source: str, target: str) -> None:
        raise OSError("Invalid cross-device link")

    linked, _ = put_bundle(lake)
    assert (linked / "ranker" / "ranker.bin").samefile(lake.current("ranker").path / "ranker.bin")
    monkeypatch.setattr(os, "link", refuses)
    copied, manifest = put_bundle(lake, ranker="another ranker")
    assert not (copied / "ranker" / "ranker.bin").samefile(lake.current("ranker").path / "ranker.bin")
    assert verify(copied) == manifest


def test_any_flipped_byte_is_refused_with_the_name_of_its_file(lake: Lake) -> None:
    folder, _ = put_bundle(lake)

    @KEEPS_ITS_FOLDER
    @given(st.data())
    def flip(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(files_of(folder)))
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        flipped = bytearray(whole)
        flipped[at] ^= data.draw(st.integers(1, 255))
        overwrite(path, bytes(flipped))
        try:
            with pytest.raises(ArtifactError, match="stage the release again or roll back") as caught:
                verify(folder)
            assert path.relative_to(folder).as_posix() in str(caught.value)
        finally:
            overwrite(path, whole)

    flip()
    verify(folder)


def test_any_changed_byte_of_the_manifest_or_its_digest_is_refused(lake: Lake) -> None:
    folder, _ = put_bundle(lake)
    for path in (folder / "manifest.json", folder / "manifest.sha256"):
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(ArtifactError, match=r"manifest\.json does not match manifest\.sha256 in its folder"):
                Manifest.open(folder)
        path.write_bytes(whole)
    verify(folder)


def test_a_missing_file_is_refused_with_its_name(lake: Lake) -> None:
    folder, manifest = put_bundle(lake)
    for name in manifest.files:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(ArtifactError, match=rf"release {manifest.release_id}: {name} is missing; stage the"):
            verify(folder)
        (folder / name).write_bytes(content)
    verify(folder)


def test_a_longer_or_shorter_file_is_refused_with_both_digests(lake: Lake) -> None:
    folder, manifest = put_bundle(lake)
    path = folder / "ranker" / "ranker.bin"
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"\n", b""):
        overwrite(path, content)
        words = rf"ranker/ranker\.bin has sha256 [0-9a-f]{{12}}, the manifest has {sha256_of(manifest)}; stage"
        with pytest.raises(ArtifactError, match=words):
            verify(folder)


def sha256_of(manifest: Manifest) -> str:
    return manifest.files["ranker/ranker.bin"].sha256[:12]


@pytest.mark.parametrize("extra", ["extra.txt", "ranker/.hidden", "new/manifest.json"])
def test_a_file_that_is_not_in_the_manifest_is_refused(lake: Lake, extra: str) -> None:
    folder, _ = put_bundle(lake)
    (folder / extra).parent.mkdir(exist_ok=True)
    (folder / extra).write_text("x")
    with pytest.raises(ArtifactError, match=rf"{extra} is not in the manifest; remove it"):
        verify(folder)


def test_a_folder_that_is_not_named_after_its_release_is_refused(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, manifest = put_bundle(lake)
    other = folder.rename(folder.with_name("r-other"))
    name = manifest.release_id
    words = rf"r-other holds release {name}, .* has its id as name; rename the folder to {name}"
    for open_it in (verify, open_bundle):
        with pytest.raises(ArtifactError, match=words):
            open_it(other)
    other.rename(folder)
    monkeypatch.chdir(folder)
    assert verify(Path()) == manifest  # a path without the name of the folder


def test_the_staging_folder_of_a_killed_writer_is_removed_by_the_next(lake: Lake) -> None:
    releases = lake.root / "releases"
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(releases)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(releases.glob(".staging-*"))) == 1
    folder, manifest = put_bundle(lake)
    assert list(releases.iterdir()) == [folder]
    assert verify(folder) == manifest


def test_a_folder_without_manifest_is_not_a_release(tmp_path: Path) -> None:
    for open_it in (verify, open_bundle):
        with pytest.raises(ArtifactError, match=r"is not a release: it has no manifest\.json; stage one"):
            open_it(tmp_path)


def test_a_manifest_without_its_digest_file_is_refused(lake: Lake) -> None:
    folder, _ = put_bundle(lake)
    (folder / "manifest.sha256").unlink()
    with pytest.raises(ArtifactError, match=r"one is missing or has changed; stage the release again or roll back"):
        verify(folder)


def test_a_manifest_of_another_schema_is_refused(lake: Lake) -> None:
    folder, manifest = put_bundle(lake)
    later = replace(manifest, schema_version=SCHEMA_VERSION + 1)
    later.save(folder)
    with pytest.raises(
        ArtifactError, match=rf"has schema {SCHEMA_VERSION + 1}; this code reads {SCHEMA_VERSION}: stage the release"
    ):
        verify(folder)


def test_a_damaged_bundle_is_refused_before_it_is_opened(lake: Lake) -> None:
    # the parts are placeholders: opening them would raise another error
    folder, _ = put_bundle(lake)
    overwrite(folder / "indexes" / "indexes.bin", b"torn")
    with pytest.raises(ArtifactError, match=r"indexes/indexes\.bin has sha256"):
        open_bundle(folder)


def test_the_manifest_is_readable_json(lake: Lake) -> None:
    folder, manifest = put_bundle(lake)
    values = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert values["release_id"] == manifest.release_id
    assert values["space_ids"] == {"image": "space-i", "text": "space-t"}
    assert values["parent"] is None
