"""The text-only fusion: its weights, its orders, and its file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from intarsia.catalog.columns import save_columns
from intarsia.errors import ArtifactError
from intarsia.experiments.fusion_search_result import plain_fusions
from intarsia.experiments.fusion_training_data import EncodedQueries
from intarsia.experiments.judged_candidates import JudgedCandidates, read_judged, retrieve_judged
from intarsia.experiments.missing_images import release_without_images
from intarsia.experiments.text_only_fusion import (
    TEXT_ONLY_FOLDER,
    TextOnlyData,
    choose_text_only,
    open_text_only,
    save_text_only,
    text_only_orders,
)
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.maths.ndcg import mean_known
from intarsia.names import TEXT_RETRIEVERS
from intarsia.records.judgment import SPLITS, QueryKind
from pipelines.job import JobProgress
from pipelines.search_fusion import SearchFusionConfig, read_judged_split
from tests.fusion_tasks import judged
from tests.unit.engine.small_fusion import shop_with
from tests.unit.engine.small_release import FLOORS, NUM_PRODUCTS, shop
from tune_spaces.fusion_space import FusionSpaceConfig

TRUTH: Mapping[QueryKind, tuple[float, float, float]] = {
    "text": (0.2, 1.0, 0.0),
    "image": (0.0, 0.0, 1.0),
    "both": (0.2, 1.0, 2.0),
}
WEIGHTED = WeightedConfig(normalisers=("min_max", "z"), depth=60)
SHOP = shop()
ENGINE = SHOP.engine()


def text_only_data(seed: int, *, grade: float = 2.0) -> TextOnlyData:
    candidates, qrels = judged(seed, true_weights=TRUTH)
    qrels = [
        dataclasses.replace(judged_query, grades_J=np.full(len(judged_query.grades_J), grade)) for judged_query in qrels
    ]
    ids = tuple(f"{seed}-{number}" for number in range(len(qrels)))
    return TextOnlyData.of(EncodedQueries(query_ids=ids, encoded=(), qrels=qrels), candidates)


def test_it_weighs_the_text_retrievers_only() -> None:
    train, validation = text_only_data(1), text_only_data(2)
    spec = choose_text_only(train, validation, WEIGHTED, max_synthetic_loss=None, seed=3)
    assert set(spec.weights) == set(TEXT_RETRIEVERS)
    assert spec.weights["text"] > 2 * spec.weights["bm25"] > 0
    for plain in plain_fusions(60).values():
        assert mean_known(validation.packed.ndcg(spec, 10)) > mean_known(validation.packed.ndcg(plain, 10))


def test_weights_from_synthetic_queries_shrink_to_equal() -> None:
    spec = choose_text_only(text_only_data(1), text_only_data(2), WEIGHTED, max_synthetic_loss=1_000.0, seed=3)
    assert list(spec.weights.values()) == pytest.approx([0.5, 0.5])


def test_without_relevant_train_candidates_it_is_a_plain_fusion() -> None:
    spec = choose_text_only(text_only_data(1, grade=0.0), text_only_data(2), WEIGHTED, max_synthetic_loss=None, seed=3)
    assert spec in plain_fusions(60).values()


def candidates_at(share: float) -> list[JudgedCandidates]:
    engine = release_without_images(ENGINE, SHOP.release, share, seed=3)
    return retrieve_judged(engine.encoders, engine.retrieve, *read_judged(SHOP.lake, SPLITS), lambda *_: None)


def test_its_orders_equal_those_of_a_catalog_without_images() -> None:
    fuser = SpecFuser(FusionSpec(kind="convex", weights={"bm25": 0.3, "text": 0.7}))
    whole = candidates_at(0.0)
    orders = [order.tolist() for order in text_only_orders(whole, fuser)]
    assert orders == [order.tolist() for order in text_only_orders(candidates_at(1.0), fuser)]
    assert [bool(order) for order in orders] == [judged_query.judged.text is not None for judged_query in whole]
    assert not all(orders)


def test_it_opens_as_saved_and_none_without_a_file(tmp_path: Path) -> None:
    assert open_text_only(SHOP.release / "fusion_spec") is None
    spec = FusionSpec(kind="convex", weights={"bm25": 0.3, "text": 0.7})
    save_text_only(spec, tmp_path)
    assert open_text_only(tmp_path) == SpecFuser(spec)
    (tmp_path / TEXT_ONLY_FOLDER / FUSION_FILE).write_text("{")
    with pytest.raises(ArtifactError, match=r"fusion\.json is not a fusion spec"):
        open_text_only(tmp_path)


def test_a_search_has_text_only_data_only_with_images(tmp_path: Path) -> None:
    config = SearchFusionConfig(engine=FLOORS, space=FusionSpaceConfig(kinds=("equal",)))
    data = read_judged_split(SHOP.lake, config, "train", JobProgress("t")).text_only
    assert data is not None
    assert data.packed.batch.retrievers == TEXT_RETRIEVERS
    lake = shop_with(tmp_path / "lake", "indexes")
    without = dataclasses.replace(ENGINE.columns, num_images=np.zeros(NUM_PRODUCTS))
    indexes = SHOP.lake.current("indexes").path
    with lake.publish("indexes") as folder:
        for part in indexes.iterdir():
            (folder / part.name).symlink_to(part) if part.name != "columns" else save_columns(
                without, folder / "columns"
            )
    assert read_judged_split(lake, config, "train", JobProgress("t")).text_only is None
