"""The search over a fusion space by Ray Tune: which points are measured, how, and what came of them. The space is `fusion.py`'s matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from intarsia.errors import ConfigError
from intarsia.experiments.fusion_objective import TrialData, score_config
from intarsia.experiments.fusion_search_result import CUTOFF, MeasuredFusion
from intarsia.fusion.method import KindConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.onray.tuning import Figures, Point, PointSearch, TrialsConfig, run_search
from tune_spaces.fusion_space import FusionSpaceConfig, config_of_point, first_points, fusion_space


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionTuning:
    """What is tried, and how often.

    Attributes:
        space: kinds and their settings.
        max_depth: the engine's.
        num_trials: points of kinds without fitted parts.
        num_fitted_trials: points of fitted kinds; every kind's defaults are tried however few.
        num_at_once: trials beside each other.
        num_folds: how often a fitted point is fitted, each time without a part of the queries.
        trials: resources of a trial, and when hopeless ones are stopped.
        seed: of the search and the fits.
    """

    space: FusionSpaceConfig
    max_depth: int
    num_trials: int
    num_fitted_trials: int
    num_at_once: int
    num_folds: int
    trials: TrialsConfig
    seed: int


def tune_fusion(
    tuning: FusionTuning,
    training_data: TrialData,
    *,
    folder: Path,
    progress: Callable[[str, int, int], None],
    identity: str = "",
) -> list[MeasuredFusion]:
    """The trials of Ray Tune and Optuna, in the order they were chosen.

    Kinds without fitted parts are measured in milliseconds, the others in minutes: the two are searched one after the other, so that the
    number of trials says what the search costs.

    Args:
        tuning: what is tried.
        lessons: the queries.
        folder: where Tune keeps its notes while it runs.
        progress: told of every trial.
        identity: names all that decides the result; a search that was stopped goes on under it.

    Raises:
        ConfigError: every trial failed; where only those of fitted kinds did, that is told as a failed trial.
    """
    space = tuning.space
    to_jsonable = tuple(kind for kind in space.kinds if kind not in space.fitted)
    tried: list[MeasuredFusion] = []
    if to_jsonable:
        part = replace(tuning, space=replace(space, kinds=to_jsonable, settings={}))
        tried += _searched(part, training_data, tuning.num_trials, folder, partial(progress, "trials"), identity)
    if space.fitted:
        part = replace(tuning, space=replace(space, kinds=space.fitted))
        num_trials = max(tuning.num_fitted_trials, len(space.fitted))
        on_trial = partial(progress, "fitted trials")
        try:
            tried += _searched(part, training_data, num_trials, folder, on_trial, identity and f"{identity}-fitted")
        except ConfigError as error:  # all of them failed, as with too few queries: the plain kinds stand
            if not to_jsonable:
                raise
            tried.append(MeasuredFusion(name="", spec=None, train=None, error=str(error)))
    return [replace(one, name=f"trial {number}") for number, one in enumerate(tried)]


def _searched(
    tuning: FusionTuning,
    training_data: TrialData,
    num_trials: int,
    folder: Path,
    on_trial: Callable[[int, int], None],
    identity: str,
) -> Sequence[MeasuredFusion]:
    retrievers, space = training_data.packed.batch.retrievers, tuning.space
    search = PointSearch(
        measure=partial(measure_point, tuning=tuning),
        data=training_data,
        space=fusion_space(retrievers, space, max_depth=tuning.max_depth),
        maximise="ndcg",
        worst=0.0,
        first_points=first_points(retrievers, space, max_depth=tuning.max_depth),
        num_trials=num_trials,
        num_at_once=tuning.num_at_once,
        seed=tuning.seed,
        trials=tuning.trials,
    )
    return [
        MeasuredFusion(
            name="",
            spec=_settings_of(one.point, retrievers, space),
            train=one.figures["ndcg"] if one.figures else None,
            error=one.error,
            stopped=one.stopped,
        )
        for one in run_search(search, folder=folder, on_trial=on_trial, identity=identity, job="search_fusion")
    ]


def _settings_of(point: Point, retrievers: Sequence[str], space: FusionSpaceConfig) -> KindConfig | None:
    """What a point stands for; None where that itself was refused, which is then why its trial failed."""
    try:
        return config_of_point(point, retrievers, space)
    except (ConfigError, ValueError):
        return None


def measure_point(point: Point, training_data: TrialData, *, tuning: FusionTuning) -> Figures | Iterator[Figures]:
    """What one trial does: a spec is measured at once, a fitted kind fold by fold."""
    settings = config_of_point(point, training_data.packed.batch.retrievers, tuning.space)
    worths = score_config(settings, training_data, k=CUTOFF, num_folds=tuning.num_folds, seed=tuning.seed)
    figures: Iterator[Figures] = ({"ndcg": worth} for worth in worths)
    return next(figures) if isinstance(settings, FusionSpec) else figures
