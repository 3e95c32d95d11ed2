"""The release that a staged one must not fall behind: what it would show for the judged queries now, or what its own evaluation found.

Which release that is, `staged.py` says; what follows from the comparison is `gate.py`'s matter.
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
from intarsia.evaluation.compare import paired_bootstrap
from intarsia.evaluation.evaluate import ComparisonRow, Evaluation, EvaluationConfig
from intarsia.experiments.evaluated_systems import Orders, ranked_orders
from intarsia.experiments.judged_candidates import JudgedCandidates, row_numbers
from intarsia.ids import ReleaseId, sha256_bytes, sha256_json
from intarsia.lake import Lake, write_json
from intarsia.logs import log_warning
from intarsia.maths.arrays import Floats
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.release.bundle import open_bundle

_FILE = "figures.json"
_KEPT_RELEASES = 20


def rival_orders(
    folder: Path, staged: SearchEngine, candidates: Callable[[SearchEngine], Sequence[JudgedCandidates]]
) -> tuple[Orders | None, str]:
    """What a release would show now, or why this code cannot open it: a release answers with the code it was built by.

    Args:
        folder: of the release.
        staged: whose row numbers the orders are in; what is no longer sold gets a number of its own.
        candidates: those of the judged queries in an engine.
    """
    try:
        rival = open_bundle(folder)
    except IntarsiaError as error:
        log_warning("release_not_opened", release_id=folder.name, why=error)
        return None, str(error)
    numbers = row_numbers(staged.retrieve)
    renumbered = np.array(
        [numbers.get(product_id, len(numbers) + row) for row, product_id in enumerate(rival.columns.product_ids)],
        np.int64,
    )
    return [renumbered[order] for order in ranked_orders(candidates(rival), rival.fuser, rival.rank)], ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The headline metric of one release, query by query; None where the query has no positive."""

    release_id: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What releases were worth, kept beside the last evaluation; `measured_by` is the `judged_digest` of what all were measured with.

    The one that was measured last stands last.
    """

    measured_by: str
    releases: tuple[Measured, ...] = ()

    @classmethod
    def remembered(cls, lake: Lake, measured_by: str) -> Figures:
        """Those of the lake's last evaluation; empty when it was made with other judgments, or there is none."""
        try:
            content = json.loads((lake.current("evaluation").path / _FILE).read_text(encoding="utf-8"))
        except (ArtifactError, FileNotFoundError):
            return cls(measured_by=measured_by)
        found = build(cls, content, where=_FILE)
        return found if found.measured_by == measured_by else cls(measured_by=measured_by)

    def of(self, release_id: ReleaseId) -> Floats | None:
        """The values of a release, NaN for None; nothing when it is not known."""
        values = next((one.values for one in self.releases if one.release_id == release_id), None)
        return None if values is None else np.array(values, np.float64)

    def having(self, release_id: ReleaseId, values_Q: Floats) -> Figures:
        """These and those of one more release; of too many the oldest go."""
        others = tuple(one for one in self.releases if one.release_id != release_id)
        values = tuple(None if np.isnan(value) else float(value) for value in values_Q)
        newest = Measured(release_id=release_id, values=values)
        return replace(self, releases=(*others, newest)[-_KEPT_RELEASES:])

    def save(self, folder: Path) -> None:
        """Write them into the folder of an evaluation."""
        write_json(folder / _FILE, to_jsonable(self))


def judged_digest(queries: Sequence[JudgedQuery], judgments: Sequence[Judgment], *, metric: str, gain: str) -> str:
    """sha256 of all that decides what a query's value means: figures are comparable when it is the same."""
    asked = [[q.query_id, q.text, q.image and sha256_bytes(q.image), q.locale] for q in queries]
    judged = sorted([str(j.query_id), str(j.product_id), j.grade] for j in judgments)
    return sha256_json({"metric": metric, "gain": gain, "queries": asked, "judgments": judged})


def with_figures(
    evaluation: Evaluation, system: str, baseline: str, figures_Q: Floats, config: EvaluationConfig
) -> Evaluation:
    """One more comparison: of a measured system with figures of the same queries that were measured at another time."""
    measured_Q = evaluation.values[system]
    paired = paired_bootstrap(measured_Q, figures_Q, seed=config.seed, num_resamples=config.num_resamples)
    row = ComparisonRow(system=system, baseline=baseline, metric=evaluation.headline, paired=paired)
    return replace(evaluation, comparisons=(*evaluation.comparisons, row))
