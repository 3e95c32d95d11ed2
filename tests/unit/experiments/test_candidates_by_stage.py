"""The text tower that retrieves a judged query is that of its fold, if there are folds of the tower that serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intarsia.experiments.judged_candidates import JudgedCandidates, candidates_by_stage, judged_candidates
from intarsia.experiments.out_of_fold_retrieval import FirstStage, open_fold_stages
from intarsia.ids import fold_of
from intarsia.lake import Lake
from intarsia.records.judgment import SPLITS
from tests.unit.engine.small_fusion import shop_with
from tests.unit.engine.small_release import FLOORS, shop
from tests.unit.experiments.test_out_of_fold_retrieval import write_folds

SERVED_SPACE = "corner-text"


@pytest.fixture
def served() -> FirstStage:
    engine = shop().engine()
    return FirstStage(encoders=engine.encoders, retrieve=engine.retrieve)


def lake_with_folds(root: Path, served: FirstStage, **other_notes: str) -> Lake:
    """Two folds with rotated vectors, published as embed_folds does, with some notes changed."""
    lake = shop_with(root)
    notes = {"folds": 2, "space_id": SERVED_SPACE, "products": lake.current("products").digest, **other_notes}
    with lake.publish("fold_indexes", notes) as folder:
        write_folds(folder, served)
    return lake


def quiet(step: str, done: int, total: int) -> None:
    pass


def text_scores(query: JudgedCandidates) -> list[float]:
    candidates = query.candidates
    return candidates.scores_CR[:, candidates.retrievers.index("text")].tolist()


def same(left: list[float], right: list[float]) -> bool:
    return bool(np.array_equal(left, right, equal_nan=True))


def test_a_train_query_is_retrieved_by_the_text_tower_of_its_fold(served: FirstStage, tmp_path: Path) -> None:
    lake = lake_with_folds(tmp_path / "lake", served)
    folds = open_fold_stages(lake.current("fold_indexes").path, served)
    stages = candidates_by_stage(lake, FLOORS, SPLITS, quiet)
    assert len(stages) == 1 + len(folds) == 3
    assert [str(query.judged.query_id) for query in stages[0][1]] == [f"j{n}" for n in range(3, 9)]
    num_text_queries = 0
    for number, (stage, queries) in enumerate(stages):
        expected_stage = stage if number == 0 else folds[number - 1]
        for query in queries:
            if number:
                assert query.judged.split == "train"
                assert fold_of(str(query.judged.query_id), 2) == number - 1
            expected = expected_stage.retrieve.vectors["text"].score_rows
            if query.judged.text:
                num_text_queries += number > 0
                assert same(
                    text_scores(query),
                    expected(query.encoded.vectors["text"].values_D, query.candidates.rows_C)[0].tolist(),
                )
    assert num_text_queries == 2
    unfolded = {query.judged.query_id: query for query in judged_candidates(shop().lake, FLOORS, ("train",), quiet)}
    for _, queries in stages[1:]:
        for query in queries:
            right = unfolded[query.judged.query_id].candidates.rows_C.tolist()
            assert (query.candidates.rows_C.tolist() == right) == (query.judged.text is None)


@pytest.mark.parametrize(
    "stale_notes", [{"space_id": "corner-text-of-last-week"}, {"products": "of last week"}], ids=str
)
def test_folds_of_another_tower_or_catalog_are_ignored(
    served: FirstStage, tmp_path: Path, stale_notes: dict[str, str]
) -> None:
    lake = lake_with_folds(tmp_path / "lake", served, **stale_notes)
    ((stage, queries),) = candidates_by_stage(lake, FLOORS, SPLITS, quiet)
    assert stage.encoders.text.space_id == SERVED_SPACE
    unfolded = judged_candidates(shop().lake, FLOORS, SPLITS, quiet)
    assert [query.judged for query in queries] == [query.judged for query in unfolded]
    for left, right in zip(queries, unfolded, strict=True):
        assert left.candidates.rows_C.tolist() == right.candidates.rows_C.tolist()
        assert same(text_scores(left), text_scores(right))


def test_judged_candidates_are_ordered_by_id(served: FirstStage, tmp_path: Path) -> None:
    lake = lake_with_folds(tmp_path / "lake", served)
    queries = judged_candidates(lake, FLOORS, ("validation", "train"), quiet)
    assert [str(query.judged.query_id) for query in queries] == [f"j{n}" for n in range(6)]
