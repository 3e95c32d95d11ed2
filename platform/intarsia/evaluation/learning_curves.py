"""Learning curves of the fitted parts of a release, as points by step, and their table in a report.

`experiments/fit_curves.py` reads the curves from the lake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

TRAIN_LOSS = "train loss"

Points = tuple[tuple[int, float], ...]
"""(step, value), the steps ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """The learning curve of one part.

    Attributes:
        part: its name in the report.
        unit: unit of the x axis: steps, or trees.
        loss: training loss, lower is better; may be empty.
        figures: held-out metrics by name, higher is better; none of them is empty.
        kept_at: the step whose parameters the release has; None if it was not recorded.
    """

    part: str
    unit: str = "step"
    loss: Points = ()
    figures: Mapping[str, Points] = field(default_factory=dict)
    kept_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurveRow:
    """One line of a learning curve as a table row; of equally good steps the first counts as the best."""

    part: str
    line: str
    length: str
    first: float
    last: float
    best: float
    best_at: int
    kept_at: int | None


def learning_curve_rows(curves: Sequence[LearningCurve]) -> list[LearningCurveRow]:
    """A row for every line of the plots."""
    rows = []
    for curve in curves:
        if curve.loss:
            rows.append(_row(curve, TRAIN_LOSS, curve.loss, min))
        rows += [_row(curve, name, points, max) for name, points in curve.figures.items()]
    return rows


def best_point(points: Iterable[tuple[int, float]]) -> tuple[int, float]:
    """The first of the points with the highest value.

    >>> best_point([(1, 0.2), (2, 0.5), (3, 0.5)])
    (2, 0.5)
    """
    return max(points, key=_value)


def _row(
    curve: LearningCurve, line: str, points: Points, best_of: Callable[..., tuple[int, float]]
) -> LearningCurveRow:
    best_at, best = best_of(points, key=_value)
    length = points[-1][0]
    return LearningCurveRow(
        part=curve.part,
        line=line,
        length=f"{length:,} {curve.unit}{'' if length == 1 else 's'}",
        first=points[0][1],
        last=points[-1][1],
        best=best,
        best_at=best_at,
        kept_at=curve.kept_at,
    )


def _value(point: tuple[int, float]) -> float:
    return point[1]
