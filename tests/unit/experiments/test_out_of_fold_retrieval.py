"""Train queries meet the vectors of their fold, all others those that serve."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.experiments.out_of_fold_retrieval import MANIFEST, QUERY_SIDE, TEXT_INDEX, View, by_view, open_fold_views
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
def served() -> View:
    engine = shop().engine()
    return View(encoders=engine.encoders, retrieve=engine.retrieve)


def write_folds(folder: Path, served: View, *, space: SpaceId | None = None, num_rows: int = NUM_PRODUCTS) -> Path:
    """Two folds whose towers see everything turned round, by one half more in the second."""
    vectors_VD, rows_V, _ = shop().vectors["text"]
    write_json(folder / MANIFEST, {"num_rows": num_rows})
    for fold in range(2):
        turned_VD = -np.roll(vectors_VD, fold, axis=1)
        place = folder / str(fold)
        space_id = space or served.encoders.text.space_id
        build_vector_index(VectorIndexConfig(), space_id, turned_VD, rows_V, NUM_PRODUCTS, place / TEXT_INDEX)
        shutil.copytree(shop().lake.current("query_encoders").path / "text", place / QUERY_SIDE)
    return folder


def test_a_train_query_meets_its_fold_and_every_other_query_what_serves(served: View, tmp_path: Path) -> None:
    folds = open_fold_views(write_folds(tmp_path, served), served)
    found = by_view(QUERIES, served, folds)
    assert [view for view, _ in found] == [served, *folds]
    assert [q.query_id for q in found[0][1]] == [q.query_id for q in QUERIES if q.split != "train"]
    for fold, (_, queries) in enumerate(found[1:]):
        assert queries == [q for q in QUERIES if q.split == "train" and fold_of(str(q.query_id), 2) == fold]
    assert sum(len(queries) for _, queries in found) == len(QUERIES)


def test_without_folds_what_serves_answers_all(served: View) -> None:
    assert by_view(QUERIES, served, ()) == [(served, QUERIES)]


def test_a_folds_view_has_its_own_text_scores_and_the_served_words(served: View, tmp_path: Path) -> None:
    first, second = open_fold_views(write_folds(tmp_path, served), served)
    asked = served.encoders.encode(ask("red bag"))
    scores = {}
    for name, view in (("served", served), ("first", first), ("second", second)):
        retrieve = replace(view.retrieve, config=replace(view.retrieve.config, depth=NUM_PRODUCTS, text_floor=-1.0))
        found = retrieve.retrieve([asked])[0]
        columns = {r: found.scores_CR[:, found.retrievers.index(r)] for r in ("bm25", "text")}
        scores[name] = {
            r: dict(zip(found.rows_C.tolist(), column.tolist(), strict=True)) for r, column in columns.items()
        }
    row = shop().row(text=True, image=False)
    assert scores["first"]["text"][row] == pytest.approx(-scores["served"]["text"][row], abs=1e-6)
    assert scores["second"]["text"][row] != pytest.approx(scores["first"]["text"][row], abs=1e-3)
    assert scores["first"]["bm25"][row] == scores["served"]["bm25"][row]


def test_folds_that_do_not_belong_to_the_catalog_or_to_their_encoder_are_refused(served: View, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no folds"):
        open_fold_views(tmp_path / "empty", served)
    with pytest.raises(ReleaseMismatch, match=r"the folds hold 7 products, the catalog 60"):
        open_fold_views(write_folds(tmp_path / "short", served, num_rows=7), served)
    with pytest.raises(ReleaseMismatch, match=r"fold 0 holds vectors of space text-other"):
        open_fold_views(write_folds(tmp_path / "other", served, space=SpaceId("text-other")), served)
