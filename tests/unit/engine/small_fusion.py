"""Feature fusion fitted on the corner shop's judged queries: for tests of a release with such a fusion."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from intarsia.engine.search import PARTS
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser
from intarsia.fusion.feature.config import FeatureFitConfig
from intarsia.fusion.feature.feature_fuser import FeatureConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.lake import Lake
from pipelines.job import JobProgress
from pipelines.search_fusion import SearchFusionConfig, fit_chosen, read_judged_split
from tests.unit.engine.small_release import FLOORS, shop
from tune_spaces.fusion_space import FusionSpaceConfig

NUM_FOLDS = 3
"""Each of the shop's three train queries is in its own fold."""
TINY = FeatureFitConfig(
    width=8,
    num_heads=2,
    num_steps=6,
    queries_per_step=2,
    candidates_per_query=8,
    products_per_step=4,
    learning_rate=0.02,
    measure_every=3,
)
Use = Literal["with_scores", "only"]


@functools.cache
def gated(use: Use = "with_scores") -> CrossFitFuser:
    """What search_fusion fits when it chooses `gated`: on all train queries, and without each fold."""
    equal = FusionSpec(kind="equal", normaliser="z")  # tuned weights may leave its column out
    spec = FeatureConfig(kind="gated", joint=TINY, use=use, fused_by=equal)
    config = SearchFusionConfig(engine=FLOORS, space=FusionSpaceConfig(kinds=("equal", "gated")), num_folds=NUM_FOLDS)
    train, validation = (
        read_judged_split(shop().lake, config, split, JobProgress("t")) for split in ("train", "validation")
    )
    return fit_chosen(spec, train.training_data, validation.training_data, config)


def save_gated(folder: Path, use: Use = "with_scores") -> None:
    """Write it as search_fusion does."""
    gated(use).save(folder)
    FLOORS.save(folder)


@functools.cache
def gated_release(use: Use = "with_scores") -> Path:
    """The release of the corner shop with this fusion instead of its own; tests must not change it."""
    release = Path(tempfile.mkdtemp(prefix="intarsia-gated-"))
    atexit.register(shutil.rmtree, release, ignore_errors=True)
    for name in set(PARTS) - {"fusion_spec"}:
        (release / name).symlink_to(shop().lake.current(name).path)
    (release / "fusion_spec").mkdir()
    save_gated(release / "fusion_spec", use)
    return release


def shop_with(root: Path, *others: str) -> Lake:
    """A lake with the shop's entries, except those that a test publishes itself."""
    root.mkdir()
    for entry in shop().lake.root.iterdir():
        if entry.name not in others:
            (root / entry.name).symlink_to(entry)
    return Lake(root)
