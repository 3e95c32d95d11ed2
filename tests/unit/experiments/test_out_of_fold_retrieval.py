"""Train queries are retrieved by the stage of their fold, all others by the stage that serves."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.experiments.out_of_fold_retrieval import (
    FOLDS_MANIFEST,
    QUERY_ENCODER,
    TEXT_INDEX,
    FirstStage,
    group_by_stage,
    open_fold_stages,
)
from intarsia.ids import QueryId, SpaceId, fold_of
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index
from intarsia.lake import write_json
from intarsia.records.judgment import SPLITS, JudgedQuery
from tests.unit.engine.small_release import NUM_PRODUCTS, ask, shop

QUERIES = [
    JudgedQuery(query_id=QueryId(f"q{n}"), text="red bag", image=None, locale="en", split=SPLITS[n % 3])
    for n in range(30)
]


@pytest.fixture
def served() -> FirstStage:
    engine = shop().engine()
    return FirstStage(encoders=engine.encoders, retrieve=engine.retrieve)


def write_folds(
    folder: Path, served: FirstStage, *, space: SpaceId | None = None, num_rows: int = NUM_PRODUCTS
) -> Path:
    """Two folds with negated vectors; the second also rolls the dimensions by one."""
    vectors_VD, rows_V, _ = shop().vectors["text"]
    write_json(folder / FOLDS_MANIFEST, {"num_rows": num_rows})
    for fold in range(2):
        rotated_VD = -np.roll(vectors_VD, fold, axis=1)
        fold_folder = folder / str(fold)
        space_id = space or served.encoders.text.space_id
        build_vector_index(VectorIndexConfig(), space_id, rotated_VD, rows_V, NUM_PRODUCTS, fold_folder / TEXT_INDEX)
        shutil.copytree(shop().lake.current("query_encoders").path / "text", fold_folder / QUERY_ENCODER)
    return folder


def test_a_train_query_belongs_to_the_stage_of_its_fold(served: FirstStage, tmp_path: Path) -> None:
    folds = open_fold_stages(write_folds(tmp_path, served), served)
    groups = group_by_stage(QUERIES, served, folds)
    assert [stage for stage, _ in groups] == [served, *folds]
    assert [q.query_id for q in groups[0][1]] == [q.query_id for q in QUERIES if q.split != "train"]
    for fold, (_, queries) in enumerate(groups[1:]):
        assert queries == [q for q in QUERIES if q.split == "train" and fold_of(str(q.query_id), 2) == fold]
    assert sum(len(queries) for _, queries in groups) == len(QUERIES)


def test_without_folds_all_queries_belong_to_the_served_stage(served: FirstStage) -> None:
    assert group_by_stage(QUERIES, served, ()) == [(served, QUERIES)]


def test_a_fold_stage_changes_the_text_scores_only(served: FirstStage, tmp_path: Path) -> None:
    first, second = open_fold_stages(write_folds(tmp_path, served), served)
    encoded = served.encoders.encode(ask("red bag"))
    scores = {}
    for name, stage in (("served", served), ("first", first), ("second", second)):
        retrieve = replace(stage.retrieve, config=replace(stage.retrieve.config, depth=NUM_PRODUCTS, text_floor=-1.0))
        candidates = retrieve.retrieve([encoded])[0]
        columns = {r: candidates.scores_CR[:, candidates.retrievers.index(r)] for r in ("bm25", "text")}
        scores[name] = {
            r: dict(zip(candidates.rows_C.tolist(), column.tolist(), strict=True)) for r, column in columns.items()
        }
    row = shop().row(text=True, image=False)
    assert scores["first"]["text"][row] == pytest.approx(-scores["served"]["text"][row], abs=1e-6)
    assert scores["second"]["text"][row] != pytest.approx(scores["first"]["text"][row], abs=1e-3)
    assert scores["first"]["bm25"][row] == scores["served"]["bm25"][row]


def test_folds_of_another_catalog_or_encoder_are_refused(served: FirstStage, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no folds"):
        open_fold_stages(tmp_path / "empty", served)
    with pytest.raises(ReleaseMismatch, match=r"the folds hold 7 products, the catalog 60"):
        open_fold_stages(write_folds(tmp_path / "short", served, num_rows=7), served)
    with pytest.raises(ReleaseMismatch, match=r"fold 0 holds vectors of space text-other"):
        open_fold_stages(write_folds(tmp_path / "other", served, space=SpaceId("text-other")), served)
