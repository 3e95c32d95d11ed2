"""The search over fusion methods and their settings with Ray Tune. The search space is in `fusion_space.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from intarsia.errors import ConfigError
from intarsia.experiments.fusion_objective import TrialData, score_config
from intarsia.experiments.fusion_search_result import CUTOFF, MeasuredFusion
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.onray.tuning import Figures, Point, PointSearch, TrialsConfig, run_search
from tune_spaces.fusion_space import FusionSpaceConfig, config_of_point, first_points, fusion_space


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSearchPlan:
    """Space and size of a search.

    Attributes:
        space: methods and their settings.
        max_depth: the engine's depth.
        num_trials: number of points of methods without fitted parts.
        num_fitted_trials: number of points of fitted methods; at least one per method, its defaults.
        num_at_once: number of concurrent trials.
        num_folds: number of fits of a fitted point, each without one fold of the queries.
        trials: resources of a trial, and the early stopping of trials.
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


def search_fusions(
    plan: FusionSearchPlan,
    training_data: TrialData,
    *,
    folder: Path,
    progress: Callable[[str, int, int], None],
    identity: str = "",
) -> list[MeasuredFusion]:
    """Run the trials with Ray Tune and Optuna; they are returned in the order in which they were chosen.

    A method without fitted parts is measured in milliseconds, a fitted one in minutes. There is one search for each of
    the two groups, so that the numbers of trials determine the cost.

    Args:
        plan: space and size of the search.
        training_data: the judged train queries.
        folder: where Ray Tune keeps its state while it runs.
        progress: called after every trial with the name of the group, the number of finished trials and the number of
            all.
        identity: digest of all that determines the result; an interrupted search continues under the same identity.

    Raises:
        ConfigError: every trial failed. If only all trials of fitted methods failed, the result has one failed trial
            for them.
    """
    space = plan.space
    unfitted = tuple(kind for kind in space.kinds if kind not in space.fitted)
    tried: list[MeasuredFusion] = []
    if unfitted:
        group = replace(plan, space=replace(space, kinds=unfitted, settings={}))
        tried += _search_group(group, training_data, plan.num_trials, folder, partial(progress, "trials"), identity)
    if space.fitted:
        group = replace(plan, space=replace(space, kinds=space.fitted))
        num_trials = max(plan.num_fitted_trials, len(space.fitted))
        on_trial = partial(progress, "fitted trials")
        try:
            tried += _search_group(
                group, training_data, num_trials, folder, on_trial, identity and f"{identity}-fitted"
            )
        except ConfigError as error:  # all failed, as with too few queries; the methods without fitted parts remain
            if not unfitted:
                raise
            tried.append(MeasuredFusion(name="", spec=None, train=None, error=str(error)))
    return [replace(trial, name=f"trial {number}") for number, trial in enumerate(tried)]


def _search_group(
    plan: FusionSearchPlan,
    training_data: TrialData,
    num_trials: int,
    folder: Path,
    on_trial: Callable[[int, int], None],
    identity: str,
) -> Sequence[MeasuredFusion]:
    retrievers, space = training_data.packed.batch.retrievers, plan.space
    points = PointSearch(
        measure=partial(measure_fusion_point, plan=plan),
        data=training_data,
        space=fusion_space(retrievers, space, max_depth=plan.max_depth),
        maximise="ndcg",
        worst=0.0,
        first_points=first_points(retrievers, space, max_depth=plan.max_depth),
        num_trials=num_trials,
        num_at_once=plan.num_at_once,
        seed=plan.seed,
        trials=plan.trials,
    )
    return [
        MeasuredFusion(
            name="",
            spec=_config_or_none(trial.point, retrievers, space),
            train=trial.figures["ndcg"] if trial.figures else None,
            error=trial.error,
            stopped=trial.stopped,
        )
        for trial in run_search(points, folder=folder, on_trial=on_trial, identity=identity, job="search_fusion")
    ]


def _config_or_none(point: Point, retrievers: Sequence[str], space: FusionSpaceConfig) -> MethodConfig | None:
    """Return the settings of a point; None if they are invalid, which is then why the trial failed."""
    try:
        return config_of_point(point, retrievers, space)
    except (ConfigError, ValueError):
        return None


def measure_fusion_point(
    point: Point, training_data: TrialData, *, plan: FusionSearchPlan
) -> Figures | Iterator[Figures]:
    """Run one trial: a method without fitted parts gives one figure, a fitted one a figure after each fold."""
    config = config_of_point(point, training_data.packed.batch.retrievers, plan.space)
    ndcgs = score_config(config, training_data, k=CUTOFF, num_folds=plan.num_folds, seed=plan.seed)
    figures: Iterator[Figures] = ({"ndcg": ndcg} for ndcg in ndcgs)
    return next(figures) if isinstance(config, FusionSpec) else figures
