"""The plots of the reports as inline SVG. Every plotted figure is also in a table of the report."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle, zip_longest
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from intarsia.evaluation.evaluate import ComparisonRow, Evaluation
from intarsia.evaluation.learning_curves import TRAIN_LOSS, LearningCurve, best_point
from intarsia.evaluation.method_comparison import Family, MethodComparison
from intarsia.evaluation.significance import Verdict
from intarsia.maths.arrays import Floats

INK, MUTED, RULE = "#1f2430", "#6b7280", "#e3e5ea"
MAIN, OTHER = "#8a4b2a", "#d8b99b"
LINES = ("#2f6f8f", "#7a8f2f", "#8f2f6f", "#444b59", "#c08a2f", "#2f7d4f")
STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be selected, and takes the page's font
    "svg.hashsalt": "intarsia",  # the same figure gives the same bytes
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.edgecolor": RULE,
}
_VERDICT: Mapping[Verdict, str] = {"better": "#2f7d4f", "worse": "#b3392f", "no difference": "#8b92a0"}
_KINDS = ("#8a4b2a", "#2f6f8f", "#7a8f2f", "#8f2f6f", "#444b59", "#c08a2f", "#2f7d4f", "#b3392f", "#8b92a0")
_FAMILY: Mapping[Family, str] = {
    "baseline": "#c3c7cf",
    "score": "#d8b99b",
    "feature": "#8fb3c4",
    "column": "#8a4b2a",
    "reference": "#e3e5ea",
}
_DASHED = (0, (3, 3))
_WHISKER = {"ecolor": INK, "elinewidth": 1.3, "capsize": 3}
_WIDTH_IN = 9.4  # of a figure: the width of the page
_MAX_FEATURES = 25
_PANELS_PER_ROW, _PANEL_PADDING_IN = 3, 0.1
_PANEL_IN = 2.9  # height with the legend
_LEGEND_OFFSET_IN = 0.42  # space for the ticks and the axis label above the legend


def systems(evaluation: Evaluation) -> str:
    """The headline metric of every system as a bar with its interval, best on top.

    The first compared system is highlighted.
    """
    rows = sorted(evaluation.systems, key=lambda row: np.nan_to_num(row.metrics[evaluation.headline].mean))
    intervals = [row.metrics[evaluation.headline] for row in rows]
    means = np.nan_to_num([interval.mean for interval in intervals])
    low = np.nan_to_num([interval.low for interval in intervals])
    high = np.nan_to_num([interval.high for interval in intervals])
    errors = np.maximum([means - low, high - means], 0.0)  # of equal values, low may be above the mean by rounding
    main = evaluation.comparisons[0].system if evaluation.comparisons else ""
    figure, axes = _one_panel(height_in=0.5 + 0.42 * len(rows))
    colours = [MAIN if row.name == main else OTHER for row in rows]
    axes.barh([row.name for row in rows], means, xerr=errors, color=colours, height=0.62, error_kw=_WHISKER)
    for bar, interval in enumerate(intervals):
        axes.annotate(f"{interval.mean:.3f}", (high[bar], bar), (6, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, min(1.0, 1.1 * float(high.max())) or 1.0)
    axes.set_xlabel(f"mean {evaluation.headline}")
    return _svg(figure)


def comparisons(rows: Sequence[ComparisonRow]) -> str:
    """Each difference as a point with its interval, coloured by verdict, around zero."""
    figure, axes = _one_panel(height_in=0.6 + 0.42 * len(rows))
    for y, row in enumerate(reversed(rows)):
        difference, colour = row.paired.difference, _VERDICT[row.paired.verdict]
        axes.plot([difference.low, difference.high], [y, y], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([difference.mean], [y], "o", color=colour, markersize=7)
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=_DASHED)
    axes.set_yticks(range(len(rows)), [f"{row.system} – {row.baseline}" for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"difference in {rows[0].metric}")
    return _svg(figure)


def per_query(differences_Q: Floats, row: ComparisonRow) -> str:
    """The difference of every query as a bar, sorted, with the number of queries that gain, stay and lose."""
    known = np.sort(differences_Q[~np.isnan(differences_Q)])[::-1]
    figure, axes = _one_panel(height_in=2.6)
    colours = np.where(known > 0, _VERDICT["better"], np.where(known < 0, _VERDICT["worse"], RULE))
    axes.bar(np.arange(len(known)), known, width=1.0, color=colours.tolist())
    axes.axhline(0, color=MUTED, linewidth=1)
    gained, lost = int((known > 0).sum()), int((known < 0).sum())
    axes.set_xlabel(f"{gained} queries gain, {len(known) - gained - lost} stay, {lost} lose")
    axes.set_ylabel(f"{row.system} – {row.baseline}", color=MUTED)
    axes.set_xticks([])
    axes.margins(x=0.01)
    return _svg(figure)


def trials(points: Sequence[tuple[int, str, float]]) -> str:
    """Each trial (number, kind, score) coloured by kind, with the best score up to each trial as a line."""
    figure, axes = _one_panel(height_in=2.8)
    kinds = sorted({kind for _, kind, _ in points})
    for colour, kind in zip(cycle(_KINDS), kinds, strict=False):  # colours repeat when there are more kinds
        of_kind = [(number, score) for number, point_kind, score in points if point_kind == kind]
        axes.scatter(*zip(*of_kind, strict=True), s=26, color=colour, label=kind, zorder=3)
    numbers, best = [n for n, _, _ in points], np.maximum.accumulate([score for _, _, score in points])
    axes.step(numbers, best, where="post", color=MUTED, linewidth=1.2, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel("score on train", color=MUTED)
    axes.legend(frameon=False, ncols=6, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return _svg(figure)


def importances(shares: Mapping[str, float]) -> str:
    """The most important features of the ranker, by their share of its gain."""
    top = sorted(shares.items(), key=lambda item: item[1])[-_MAX_FEATURES:]
    figure, axes = _one_panel(height_in=0.5 + 0.27 * len(top))
    axes.barh([name for name, _ in top], [share for _, share in top], color=OTHER, height=0.66)
    axes.set_xlabel("share of the ranker's gain")
    axes.margins(y=0.01)
    return _svg(figure)


def learning_curves(curves: Sequence[LearningCurve]) -> str:
    """A panel per part: train loss (pale, left scale) and held-out metrics.

    A dot marks the best step, a dashed line the kept one.
    """
    num_columns = min(len(curves), _PANELS_PER_ROW)
    num_rows = -(-len(curves) // num_columns)
    height_in = 0.3 + _PANEL_IN * num_rows
    figure, panels = _panels(num_rows, num_columns, height_in=height_in, padding_in=_PANEL_PADDING_IN)
    with mpl.rc_context(STYLE):
        for curve, axes in zip_longest(curves, panels):
            if curve is None:
                axes.set_axis_off()
            else:
                _draw_learning_curve(curve, axes)
    return _svg(figure)


def methods(comparison: MethodComparison) -> str:
    """Test means of all methods with their intervals, the best on train on top, coloured by family.

    The dashed line is the best baseline.
    """
    rows = [(row.method, row.test) for row in reversed(comparison.rows) if row.test is not None]
    means = np.nan_to_num([test.mean for _, test in rows])
    low, high = (np.nan_to_num([getattr(test, end) for _, test in rows]) for end in ("low", "high"))
    figure, axes = _one_panel(height_in=0.9 + 0.3 * len(rows))
    chosen = comparison.chosen
    names = [f"{method.name}  (chosen)" if method.name == chosen else method.name for method, _ in rows]
    errors = np.maximum([means - low, high - means], 0.0)
    colours = [_FAMILY[method.family] for method, _ in rows]
    axes.barh(names, means, xerr=errors, color=colours, height=0.7, error_kw=_WHISKER)
    best = next(test for method, test in rows if method.name == comparison.best_baseline)
    axes.axvline(best.mean, color=MUTED, linewidth=1, linestyle=_DASHED)
    for family in dict.fromkeys(method.family for method, _ in reversed(rows)):
        axes.barh([names[0]], [0], color=_FAMILY[family], label=family)
    axes.legend(frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    axes.set_xlim(0, min(1.0, 1.1 * float(high.max())) or 1.0)
    axes.set_xlabel(f"mean {comparison.metric}; dashed: the best baseline, {comparison.best_baseline}")
    axes.margins(y=0.01)
    return _svg(figure)


def missing_images(comparison: MethodComparison, lines: Sequence[tuple[str, str]]) -> str:
    """The metric by share of missing images.

    The (method, imputer) pairs of `lines` are in colour, in that order, all others in grey.
    """
    figure, axes = _one_panel(height_in=3.6)
    pairs = dict.fromkeys((point.method, point.imputer) for point in comparison.curve)
    for pair in [*(pair for pair in pairs if pair not in lines), *lines]:
        points = [point for point in comparison.curve if (point.method, point.imputer) == pair]
        percents, values = [100 * point.missing for point in points], [point.value.mean for point in points]
        if pair not in lines:
            axes.plot(percents, values, color=RULE, linewidth=1)
            continue
        colour = LINES[lines.index(pair) % len(LINES)]
        name = f"{pair[0]}, {pair[1]}" if pair[1] else pair[0]
        axes.plot(percents, values, color=colour, linewidth=2, marker="o", markersize=4, label=name)
        if pair == lines[0]:
            low, high = [point.value.low for point in points], [point.value.high for point in points]
            axes.fill_between(percents, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_xlabel("missing images, %")
    axes.set_ylabel(comparison.metric, color=MUTED)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return _svg(figure)


def _draw_learning_curve(curve: LearningCurve, axes: Any) -> None:
    lines = []
    metric_axes = axes.twinx() if curve.loss and curve.figures else axes
    if curve.loss:
        lines += axes.plot(*zip(*curve.loss, strict=True), color=OTHER, linewidth=1, label=TRAIN_LOSS)
    for colour, (name, points) in zip(cycle(LINES), curve.figures.items(), strict=False):
        lines += metric_axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, label=name)
        metric_axes.plot(*best_point(points), "o", color=colour, markersize=6)
    if curve.kept_at is not None:
        label = f"kept: {curve.unit} {curve.kept_at:,}"
        lines.append(axes.axvline(curve.kept_at, color=MUTED, linewidth=1, linestyle=_DASHED, label=label))
    metric_axes.spines[["top", "right", "left"]].set_visible(False)
    metric_axes.tick_params(length=0)
    last = max(points[-1][0] for points in (curve.loss, *curve.figures.values()) if points)
    axes.set_xlim(-0.04 * last, 1.04 * last)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel(curve.unit)
    axes.set_title(curve.part, loc="left", fontsize=10, fontweight="bold")
    below = axes.transAxes + ScaledTranslation(0, -_LEGEND_OFFSET_IN, axes.figure.dpi_scale_trans)
    anchor = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": below, "borderaxespad": 0}
    axes.legend(handles=lines, frameon=False, fontsize=9, **anchor)


def _one_panel(*, height_in: float) -> tuple[Figure, Any]:
    figure, (axes,) = _panels(1, 1, height_in=height_in)
    return figure, axes


def _panels(
    num_rows: int, num_columns: int, *, height_in: float, padding_in: float | None = None
) -> tuple[Figure, list[Any]]:
    """A figure as wide as the page, and its axes row by row; `padding_in` is the horizontal padding of each."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=padding_in)
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout=layout)
        panels = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
        for axes in panels:
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.grid(axis="x", color=RULE, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
    return figure, panels


def _svg(figure: Figure) -> str:
    """The figure as an <svg> element, without the XML header."""
    target = io.StringIO()
    with mpl.rc_context(STYLE):
        FigureCanvasSVG(figure).print_svg(target, metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    return text[text.index("<svg") :]
