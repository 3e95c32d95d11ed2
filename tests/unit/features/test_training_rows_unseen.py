"""Training rows with a fitted fusion: each train query is fused by the copy that was not fitted on it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from intarsia.engine.search import open_fuse_crossed
from intarsia.experiments.judged_candidates import judged_candidates, retrieve_again
from intarsia.experiments.missing_images import retrieve_without_images
from intarsia.features.default_set import FEATURES
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser
from intarsia.fusion.protocol import Fuser
from intarsia.ids import fold_of
from intarsia.records.candidates import Candidates
from intarsia.tables.training_rows import training_rows_spec
from pipelines.build_training_rows import RANKER_SPLITS, WITH_MISSING_IMAGES, BuildTrainingRowsConfig, run
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


def out_of_fold_fuser(crossed: CrossFitFuser, query_id: str, split: str) -> Fuser:
    return crossed.folds[fold_of(query_id, NUM_FOLDS)] if split == "train" else crossed.full


def test_train_queries_are_fused_out_of_fold_others_by_the_full_fuser(tmp_path: Path) -> None:
    lake = shop_with(tmp_path / "lake", "fusion_spec")
    with lake.publish("fusion_spec") as folder:
        save_gated(folder)
    counts = run(BuildTrainingRowsConfig(queries_per_part=2, missing_images=0.0), lake, PROGRESS)
    rows = training_rows_spec(FEATURES.names).read(lake.current("training_rows"))
    judged = judged_candidates(shop().lake, FLOORS, RANKER_SPLITS, PROGRESS)
    assert counts["queries"] == len(judged) == 6
    assert counts["rows"] == rows.num_rows
    written: dict[str, dict[str, float]] = {}
    for query_id, product_id, score in zip(
        *(rows[name].to_pylist() for name in ("query_id", "product_id", "fused_score")), strict=True
    ):
        written.setdefault(query_id, {})[product_id] = score
    for query in judged:
        query_id, split = str(query.judged.query_id), query.judged.split
        expected = fused_scores(out_of_fold_fuser(gated(), query_id, split), query.candidates)
        assert written[query_id] == expected
        others = [
            fuser
            for fuser in (gated().full, *gated().folds)
            if fuser is not out_of_fold_fuser(gated(), query_id, split)
        ]
        assert all(expected != fused_scores(other, query.candidates) for other in others)


def test_train_queries_with_fewer_images_are_fused_out_of_fold_too(tmp_path: Path) -> None:
    lake = shop_with(tmp_path / "lake", "fusion_spec")
    with lake.publish("fusion_spec") as folder:
        save_gated(folder)
    config = BuildTrainingRowsConfig(missing_images=1.0)
    counts = run(config, lake, PROGRESS)
    rows = training_rows_spec(FEATURES.names).read(lake.current("training_rows"))
    train = [
        query
        for query in judged_candidates(shop().lake, FLOORS, RANKER_SPLITS, PROGRESS)
        if query.judged.split == "train"
    ]
    assert (counts["queries"], counts["with missing images"]) == (6, len(train))
    repeated = rows.filter(pc.ends_with(rows["query_id"], WITH_MISSING_IMAGES))
    with_text = {f"{query.judged.query_id}{WITH_MISSING_IMAGES}" for query in train if query.judged.text}
    assert set(repeated["query_id"].to_pylist()) == with_text, "a query of an image only retrieves nothing there"
    assert set(repeated["split"].to_pylist()) == {"train"}
    assert pc.sum(repeated["label"]).as_py() > 0, "they have the judgments of the original queries"
    assert pc.all(pc.is_nan(repeated["image_score"])).as_py()
    assert not pc.all(pc.is_nan(rows["image_score"])).as_py()
    with_missing_images = retrieve_without_images(shop().engine().retrieve, 1.0, config.seed)
    for query in retrieve_again(with_missing_images, train, [], PROGRESS):
        query_id = str(query.judged.query_id)
        written = repeated.filter(pc.equal(repeated["query_id"], f"{query_id}{WITH_MISSING_IMAGES}"))
        scores = dict(zip(written["product_id"].to_pylist(), written["fused_score"].to_pylist(), strict=True))
        with_vectors = open_fuse_crossed(lake.current("fusion_spec").path, with_missing_images.vectors)
        assert scores == fused_scores(with_vectors.out_of_fold(query_id), query.candidates)
