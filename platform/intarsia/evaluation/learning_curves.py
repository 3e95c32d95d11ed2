"""How the fitted parts of a release learned, as a report shows it: points by step, and the table that says in figures what is drawn.

Where the curves lie is `engine/learning_curves.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

TRAIN_LOSS = "train loss"

Points = tuple[tuple[int, float], ...]
"""(step, value), the steps ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """What was noted while one part was fitted.

    Attributes:
        part: its name in the report.
        unit: what is counted: steps, or trees.
        loss: of the examples it learned from, lower is better; may be empty.
        figures: measured on what it did not learn from, by name, higher is better; none of them is empty.
        kept_at: the step whose parameters the release has; none where nobody noted it.
    """

    part: str
    unit: str = "step"
    loss: Points = ()
    figures: Mapping[str, Points] = field(default_factory=dict)
    kept_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """One line of a curve as a row; of equally good steps the first counts as the best."""

    part: str
    line: str
    length: str
    first: float
    last: float
    best: float
    best_at: int
    kept_at: int | None


def curve_rows(curves: Sequence[LearningCurve]) -> list[CurveRow]:
    """A row for every line that is drawn."""
    rows = []
    for curve in curves:
        if curve.loss:
            rows.append(_row(curve, TRAIN_LOSS, curve.loss, min))
        rows += [_row(curve, name, points, max) for name, points in curve.figures.items()]
    return rows


def best_point(points: Iterable[tuple[int, float]]) -> tuple[int, float]:
    """The first of the points with the highest value."""
    return max(points, key=_value)


def _row(curve: LearningCurve, line: str, points: Points, best_of: Callable[..., tuple[int, float]]) -> CurveRow:
    best_at, best = best_of(points, key=_value)
    length = points[-1][0]
    return CurveRow(
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
