"""build_training_rows over a fusion that was fitted on the train queries: each of them is fused by what has not seen it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from intarsia.engine.fuse import open_fuse_crossed
from intarsia.experiments.judged_candidates import judged_candidates, retrieve_again
from intarsia.experiments.missing_images import retrieve_without_images
from intarsia.features.default_set import FEATURES
from intarsia.fusion.ensemble.cross_fit import CrossedFuser
from intarsia.fusion.protocol import Fuser
from intarsia.ids import fold_of
from intarsia.records.candidates import Candidates
from intarsia.tables.training_rows import training_rows_spec
from pipelines.build_training_rows import SPLITS, WITH_MISSING_IMAGES, BuildTrainingRowsConfig, run
from pipelines.job import JobProgress
from tests.unit.engine.small_fusion import NUM_FOLDS, gated, save_gated, shop_with
from tests.unit.engine.small_release import FLOORS, shop

PROGRESS = JobProgress("build_training_rows")


def fused_scores(fuser: Fuser, candidates: Candidates) -> dict[str, float]:
    """By product."""
    fused = fuser.fuse(candidates)
    assert fused.fused_C is not None
    ids = [str(shop().products[row].product_id) for row in fused.rows_C]
    return dict(zip(ids, fused.fused_C.tolist(), strict=True))


def unseeing(crossed: CrossedFuser, query_id: str, split: str) -> Fuser:
    return crossed.folds[fold_of(query_id, NUM_FOLDS)] if split == "train" else crossed.full


def test_a_train_query_is_fused_by_its_fold_and_a_validation_query_by_what_serves(tmp_path: Path) -> None:
    lake = shop_with(tmp_path / "lake", "fusion_spec")
    with lake.publish("fusion_spec") as folder:
        save_gated(folder)
    counts = run(BuildTrainingRowsConfig(queries_per_part=2, missing_images=0.0), lake, PROGRESS)
    rows = training_rows_spec(FEATURES.names).read(lake.current("training_rows"))
    found = judged_candidates(shop().lake, FLOORS, SPLITS, PROGRESS)
    assert counts["queries"] == len(found) == 6
    assert counts["rows"] == rows.num_rows
    written: dict[str, dict[str, float]] = {}
    for query_id, product_id, score in zip(
        *(rows[name].to_pylist() for name in ("query_id", "product_id", "fused_score")), strict=True
    ):
        written.setdefault(query_id, {})[product_id] = score
    for each in found:
        query_id, split = str(each.judged.query_id), each.judged.split
        expected = fused_scores(unseeing(gated(), query_id, split), each.candidates)
        assert written[query_id] == expected
        others = [fuser for fuser in (gated().full, *gated().folds) if fuser is not unseeing(gated(), query_id, split)]
        assert all(expected != fused_scores(other, each.candidates) for other in others)


def test_train_queries_are_asked_again_with_fewer_images_and_fused_by_their_own_fold(tmp_path: Path) -> None:
    lake = shop_with(tmp_path / "lake", "fusion_spec")
    with lake.publish("fusion_spec") as folder:
        save_gated(folder)
    config = BuildTrainingRowsConfig(missing_images=1.0)
    counts = run(config, lake, PROGRESS)
    rows = training_rows_spec(FEATURES.names).read(lake.current("training_rows"))
    train = [each for each in judged_candidates(shop().lake, FLOORS, SPLITS, PROGRESS) if each.judged.split == "train"]
    assert (counts["queries"], counts["with missing images"]) == (6, len(train))
    again = rows.filter(pc.ends_with(rows["query_id"], WITH_MISSING_IMAGES))
    worded = {f"{each.judged.query_id}{WITH_MISSING_IMAGES}" for each in train if each.judged.text}
    assert set(again["query_id"].to_pylist()) == worded, "a picture alone finds nothing there"
    assert set(again["split"].to_pylist()) == {"train"}
    assert pc.sum(again["label"]).as_py() > 0, "they are judged as the queries they were made of"
    assert pc.all(pc.is_nan(again["image_score"])).as_py()
    assert not pc.all(pc.is_nan(rows["image_score"])).as_py()
    with_missing_images = retrieve_without_images(shop().engine().retrieve, 1.0, config.seed)
    for each in retrieve_again(with_missing_images, train, [], PROGRESS):
        query_id = str(each.judged.query_id)
        written = again.filter(pc.equal(again["query_id"], f"{query_id}{WITH_MISSING_IMAGES}"))
        found = dict(zip(written["product_id"].to_pylist(), written["fused_score"].to_pylist(), strict=True))
        with_vectors = open_fuse_crossed(lake.current("fusion_spec").path, with_missing_images.vectors)
        assert found == fused_scores(with_vectors.without(query_id), each.candidates)
