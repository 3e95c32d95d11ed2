"""Learning curves as one picture: a panel per fitted part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, zip_longest
from typing import Any

import matplotlib as mpl
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from intarsia.evaluation import svg
from intarsia.evaluation.learning_curves import TRAIN_LOSS, LearningCurve, best_point

_ABREAST, _BESIDE_IN = 3, 0.1
_PANEL_IN, _NAMES_BELOW_IN = 2.9, 0.42  # height with the names of its lines; room for the ticks and what they count


def learning_curves(curves: Sequence[LearningCurve]) -> str:
    """Of each part the train loss, pale, its scale on the left; what was measured in colour, its best a dot; what was kept, dashed."""
    abreast = min(len(curves), _ABREAST)
    num_rows = -(-len(curves) // abreast)
    height_in = 0.3 + _PANEL_IN * num_rows
    figure, panels = svg.panels(num_rows, abreast, height_in=height_in, beside_in=_BESIDE_IN)
    with mpl.rc_context(svg.STYLE):
        for curve, axes in zip_longest(curves, panels):
            if curve is None:
                axes.set_axis_off()
            else:
                _draw(curve, axes)
    return svg.svg(figure)


def _draw(curve: LearningCurve, axes: Any) -> None:
    lines = []
    measured = axes.twinx() if curve.loss and curve.figures else axes
    if curve.loss:
        lines += axes.plot(*zip(*curve.loss, strict=True), color=svg.OTHER, linewidth=1, label=TRAIN_LOSS)
    for colour, (name, points) in zip(cycle(svg.LINES), curve.figures.items(), strict=False):
        lines += measured.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, label=name)
        measured.plot(*best_point(points), "o", color=colour, markersize=6)
    if curve.kept_at is not None:
        label = f"kept: {curve.unit} {curve.kept_at:,}"
        lines.append(axes.axvline(curve.kept_at, color=svg.MUTED, linewidth=1, linestyle=(0, (3, 3)), label=label))
    measured.spines[["top", "right", "left"]].set_visible(False)
    measured.tick_params(length=0)
    last = max(points[-1][0] for points in (curve.loss, *curve.figures.values()) if points)
    axes.set_xlim(-0.04 * last, 1.04 * last)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel(curve.unit)
    axes.set_title(curve.part, loc="left", fontsize=10, fontweight="bold")
    below = axes.transAxes + ScaledTranslation(0, -_NAMES_BELOW_IN, axes.figure.dpi_scale_trans)
    place = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": below, "borderaxespad": 0}
    axes.legend(handles=lines, frameon=False, fontsize=9, **place)
