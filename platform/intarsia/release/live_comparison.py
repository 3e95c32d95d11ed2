"""Compare the staged release with the live one, by its results now or by the figures of its own evaluation.

`pointer.release_to_compare` names the other release, `promotion_gate.py` decides by the comparison. Letters: Q queries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from intarsia.config import build, to_jsonable
from intarsia.engine.search import SearchEngine
from intarsia.errors import ArtifactError, IntarsiaError
from intarsia.evaluation.evaluate import ComparisonRow, Evaluation, EvaluationConfig
from intarsia.evaluation.significance import paired_bootstrap
from intarsia.experiments.evaluated_systems import Orders, ranked_orders
from intarsia.experiments.judged_candidates import JudgedCandidates, row_numbers
from intarsia.ids import ReleaseId, sha256_bytes, sha256_json
from intarsia.lake import Lake, write_json
from intarsia.logs import log_warning
from intarsia.maths.arrays import Floats
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.release.bundle import open_bundle

_FIGURES_FILE = "figures.json"
_MAX_RELEASES = 20


def orders_of_release(
    folder: Path, staged: SearchEngine, candidates: Callable[[SearchEngine], Sequence[JudgedCandidates]]
) -> tuple[Orders | None, str]:
    """The final orders of another release, or None and the reason why this code cannot open it.

    Args:
        folder: folder of the other release.
        staged: the orders are in its row numbers; a product that it does not have gets a number above them.
        candidates: retrieves the judged queries in an engine.
    """
    try:
        other = open_bundle(folder)
    except IntarsiaError as error:
        log_warning("release_not_opened", release_id=folder.name, why=error)
        return None, str(error)
    numbers = row_numbers(staged.retrieve)
    staged_rows = np.array(
        [numbers.get(product_id, len(numbers) + row) for row, product_id in enumerate(other.columns.product_ids)],
        np.int64,
    )
    return [staged_rows[order] for order in ranked_orders(candidates(other), other.fuser, other.rank)], ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRelease:
    """The headline metric of one release for each query; None where the query has no relevant product."""

    release_id: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFigures:
    """The per-query figures of recent releases, saved with every evaluation.

    Attributes:
        measured_by: the `judged_digest` that all figures were measured with.
        releases: the most recently measured one is last.
    """

    measured_by: str
    releases: tuple[MeasuredRelease, ...] = ()

    @classmethod
    def read(cls, lake: Lake, measured_by: str) -> ReleaseFigures:
        """The figures of the lake's last evaluation; empty if there is none, or if it used other judgments."""
        try:
            content = json.loads((lake.current("evaluation").path / _FIGURES_FILE).read_text(encoding="utf-8"))
        except (ArtifactError, FileNotFoundError):
            return cls(measured_by=measured_by)
        figures = build(cls, content, where=_FIGURES_FILE)
        return figures if figures.measured_by == measured_by else cls(measured_by=measured_by)

    def of(self, release_id: ReleaseId) -> Floats | None:
        """The values of a release, float64 [Q], NaN for None; None if the release is not among the figures."""
        values = next((release.values for release in self.releases if release.release_id == release_id), None)
        return None if values is None else np.array(values, np.float64)

    def with_release(self, release_id: ReleaseId, values_Q: Floats) -> ReleaseFigures:
        """These figures with one more release; only the newest 20 are kept."""
        others = tuple(release for release in self.releases if release.release_id != release_id)
        values = tuple(None if np.isnan(value) else float(value) for value in values_Q)
        newest = MeasuredRelease(release_id=release_id, values=values)
        return replace(self, releases=(*others, newest)[-_MAX_RELEASES:])

    def save(self, folder: Path) -> None:
        """Write them into the folder of an evaluation."""
        write_json(folder / _FIGURES_FILE, to_jsonable(self))


def judged_digest(queries: Sequence[JudgedQuery], judgments: Sequence[Judgment], *, metric: str, gain: str) -> str:
    """sha256 of queries, judgments and metric: figures with equal digests are comparable."""
    query_values = [[q.query_id, q.text, q.image and sha256_bytes(q.image), q.locale] for q in queries]
    grades = sorted([str(j.query_id), str(j.product_id), j.grade] for j in judgments)
    return sha256_json({"metric": metric, "gain": gain, "queries": query_values, "judgments": grades})


def with_figures(
    evaluation: Evaluation, system: str, baseline: str, figures_Q: Floats, config: EvaluationConfig
) -> Evaluation:
    """Add a comparison of a system with figures of the same queries from an earlier evaluation."""
    values_Q = evaluation.values[system]
    paired = paired_bootstrap(values_Q, figures_Q, seed=config.seed, num_resamples=config.num_resamples)
    row = ComparisonRow(system=system, baseline=baseline, metric=evaluation.headline, paired=paired)
    return replace(evaluation, comparisons=(*evaluation.comparisons, row))
