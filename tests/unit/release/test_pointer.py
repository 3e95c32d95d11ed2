from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intarsia.errors import ArtifactError
from intarsia.ids import ReleaseId
from intarsia.lake import Lake
from intarsia.release.pointer import ROLL_BACK, Pointer, read_staged

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def pointer(tmp_path: Path) -> Pointer:
    """A folder with the releases r-a .. r-d, none of them live."""
    for name in "abcd":
        (tmp_path / f"r-{name}").mkdir()
    return Pointer(tmp_path)


def promote(pointer: Pointer, *names: str) -> None:
    for minute, name in enumerate(names):
        pointer.move(ReleaseId(f"r-{name}"), at=NOON + timedelta(minutes=minute), why="staged")


def roll_back(pointer: Pointer) -> ReleaseId:
    release_id = pointer.previous()
    pointer.move(release_id, at=NOON, why=ROLL_BACK)
    return release_id


def test_before_the_first_promotion_nothing_is_live(pointer: Pointer) -> None:
    assert pointer.live() is None
    assert not pointer.was_rolled_back(ReleaseId("r-a"))
    with pytest.raises(ArtifactError, match=r"no release is live in .*; run `intarsia run"):
        pointer.live_folder()
    with pytest.raises(ArtifactError, match=r"no earlier release to go back to in .*; promote another one first"):
        pointer.previous()


def test_the_last_promoted_release_is_live(pointer: Pointer) -> None:
    promote(pointer, "a", "b")
    assert pointer.live() == "r-b"
    assert pointer.live_folder() == pointer.releases / "r-b"
    assert pointer.previous() == "r-a"
    assert not pointer.was_rolled_back(ReleaseId("r-b"))


def test_a_single_release_has_no_previous_one(pointer: Pointer) -> None:
    promote(pointer, "a")
    with pytest.raises(ArtifactError, match="no earlier release to go back to"):
        pointer.previous()


def test_rolling_back_twice_goes_back_two_releases(pointer: Pointer) -> None:
    promote(pointer, "a", "b", "c")
    assert roll_back(pointer) == "r-b"
    assert roll_back(pointer) == "r-a"
    with pytest.raises(ArtifactError, match="no earlier release to go back to"):
        pointer.previous()
    assert pointer.was_rolled_back(ReleaseId("r-c"))
    assert pointer.was_rolled_back(ReleaseId("r-b"))
    assert not pointer.was_rolled_back(ReleaseId("r-a"))


def test_a_promotion_after_a_roll_back_follows_the_release_it_replaced(pointer: Pointer) -> None:
    promote(pointer, "a", "b")
    roll_back(pointer)
    promote(pointer, "c")
    assert pointer.live() == "r-c"
    assert pointer.previous() == "r-a"
    assert not pointer.was_rolled_back(ReleaseId("r-b"))  # it may be compared again with the new one


def test_a_rolled_back_release_can_be_promoted_by_its_id(pointer: Pointer) -> None:
    promote(pointer, "a", "b")
    roll_back(pointer)
    pointer.move(ReleaseId("r-b"), at=NOON, why="r-b")
    assert not pointer.was_rolled_back(ReleaseId("r-b"))
    assert roll_back(pointer) == "r-a"


def test_an_earlier_release_without_folder_is_skipped(pointer: Pointer) -> None:
    promote(pointer, "a", "b", "c")
    (pointer.releases / "r-b").rmdir()
    assert pointer.previous() == "r-a"


def test_the_history_is_bounded_and_keeps_the_newest(pointer: Pointer) -> None:
    promote(pointer, *("ab" * 30), "c")
    assert pointer.live() == "r-c"
    assert pointer.previous() == "r-b"
    assert (pointer.releases / "live.json").stat().st_size < 5_000


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"history": 3}', '{"history": [{}]}', '{"history": [{"release_id": null}]}']
)
def test_a_damaged_pointer_is_refused_with_the_fix(tmp_path: Path, content: str) -> None:
    (tmp_path / "live.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"live\.json is damaged: .*Fix: remove the file and promote a release"):
        Pointer(tmp_path).live()


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_damaged_staged_release_is_refused_with_the_fix(lake: Lake, content: str | None) -> None:
    with lake.publish("staged_release") as folder:
        if content is not None:
            (folder / "release.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"release\.json is (missing|damaged).*Fix: run stage_release with --force"):
        read_staged(lake)
