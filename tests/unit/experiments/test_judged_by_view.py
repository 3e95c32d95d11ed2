"""Which text tower answers a judged query: that of its fold where there are folds of the tower that serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intarsia.experiments.judged_candidates import JudgedCandidates, judged_by_view, judged_candidates
from intarsia.experiments.out_of_fold_retrieval import View, open_fold_views
from intarsia.ids import fold_of
from intarsia.lake import Lake
from intarsia.records.judgment import SPLITS
from tests.unit.engine.small_fusion import shop_with
from tests.unit.engine.small_release import FLOORS, shop
from tests.unit.experiments.test_out_of_fold_retrieval import write_folds

SERVED_SPACE = "corner-text"


@pytest.fixture
def served() -> View:
    engine = shop().engine()
    return View(encoders=engine.encoders, retrieve=engine.retrieve)


def lake_with_folds(root: Path, served: View, **other_notes: str) -> Lake:
    """Two folds whose towers see everything turned round, noted as embed_folds does it but for some notes."""
    lake = shop_with(root)
    notes = {"folds": 2, "space_id": SERVED_SPACE, "products": lake.current("products").digest, **other_notes}
    with lake.publish("fold_indexes", notes) as folder:
        write_folds(folder, served)
    return lake


def quiet(step: str, done: int, total: int) -> None:
    pass


def text_scores(each: JudgedCandidates) -> list[float]:
    found = each.candidates
    return found.scores_CR[:, found.retrievers.index("text")].tolist()


def same(mine: list[float], theirs: list[float]) -> bool:
    return bool(np.array_equal(mine, theirs, equal_nan=True))


def test_a_train_query_is_answered_by_the_text_tower_of_its_fold(served: View, tmp_path: Path) -> None:
    lake = lake_with_folds(tmp_path / "lake", served)
    folds = open_fold_views(lake.current("fold_indexes").path, served)
    views = judged_by_view(lake, FLOORS, SPLITS, quiet)
    assert len(views) == 1 + len(folds) == 3
    assert [str(each.judged.query_id) for each in views[0][1]] == [f"j{n}" for n in range(3, 9)]
    asked_in_words = 0
    for number, (view, found) in enumerate(views):
        answering = view if number == 0 else folds[number - 1]
        for each in found:
            if number:
                assert each.judged.split == "train"
                assert fold_of(str(each.judged.query_id), 2) == number - 1
            expected = answering.retrieve.vectors["text"].score_rows
            if each.judged.text:
                asked_in_words += number > 0
                assert same(
                    text_scores(each),
                    expected(each.encoded.vectors["text"].values_D, each.candidates.rows_C)[0].tolist(),
                )
    assert asked_in_words == 2
    to_jsonable = {each.judged.query_id: each for each in judged_candidates(shop().lake, FLOORS, ("train",), quiet)}
    for _, found in views[1:]:
        for each in found:
            theirs = to_jsonable[each.judged.query_id].candidates.rows_C.tolist()
            assert (each.candidates.rows_C.tolist() == theirs) == (each.judged.text is None)


@pytest.mark.parametrize("left_from", [{"space_id": "corner-text-of-last-week"}, {"products": "of last week"}], ids=str)
def test_folds_left_from_another_tower_or_catalog_answer_nothing(
    served: View, tmp_path: Path, left_from: dict[str, str]
) -> None:
    lake = lake_with_folds(tmp_path / "lake", served, **left_from)
    ((view, found),) = judged_by_view(lake, FLOORS, SPLITS, quiet)
    assert view.encoders.text.space_id == SERVED_SPACE
    to_jsonable = judged_candidates(shop().lake, FLOORS, SPLITS, quiet)
    assert [each.judged for each in found] == [each.judged for each in to_jsonable]
    for mine, theirs in zip(found, to_jsonable, strict=True):
        assert mine.candidates.rows_C.tolist() == theirs.candidates.rows_C.tolist()
        assert same(text_scores(mine), text_scores(theirs))


def test_together_they_come_ordered_by_id_whatever_answered_them(served: View, tmp_path: Path) -> None:
    lake = lake_with_folds(tmp_path / "lake", served)
    found = judged_candidates(lake, FLOORS, ("validation", "train"), quiet)
    assert [str(each.judged.query_id) for each in found] == [f"j{n}" for n in range(6)]
