"""The pictures of a report as inline SVG. Everything drawn is also in a table; a picture only makes it visible at a glance.

Those of learning curves are `curve_plots.py`'s matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from intarsia.evaluation import svg
from intarsia.evaluation.compare import Verdict
from intarsia.evaluation.evaluate import ComparisonRow, Evaluation
from intarsia.evaluation.method_comparison import Arena, Family
from intarsia.maths.arrays import Floats

_VERDICT: Mapping[Verdict, str] = {"better": "#2f7d4f", "worse": "#b3392f", "no difference": "#8b92a0"}
_KINDS = ("#8a4b2a", "#2f6f8f", "#7a8f2f", "#8f2f6f", "#444b59", "#c08a2f", "#2f7d4f", "#b3392f", "#8b92a0")
_FAMILY: Mapping[Family, str] = {
    "baseline": "#c3c7cf",
    "score": "#d8b99b",
    "feature": "#8fb3c4",
    "column": "#8a4b2a",
    "witness": "#e3e5ea",
}
_MOST_FEATURES = 25


def systems(evaluation: Evaluation) -> str:
    """The headline metric of every system as a bar with its interval, best on top; the first compared system is marked."""
    rows = sorted(evaluation.systems, key=lambda row: np.nan_to_num(row.metrics[evaluation.headline].mean))
    intervals = [row.metrics[evaluation.headline] for row in rows]
    means = np.nan_to_num([one.mean for one in intervals])
    low, high = np.nan_to_num([one.low for one in intervals]), np.nan_to_num([one.high for one in intervals])
    errors = np.maximum([means - low, high - means], 0.0)  # of equal values, low may be above the mean by rounding
    main = evaluation.comparisons[0].system if evaluation.comparisons else ""
    figure, axes = svg.axes(height_in=0.5 + 0.42 * len(rows))
    colours = [svg.MAIN if row.name == main else svg.OTHER for row in rows]
    axes.barh([row.name for row in rows], means, xerr=errors, color=colours, height=0.62, error_kw=svg.whisker())
    for place, one in enumerate(intervals):
        axes.annotate(f"{one.mean:.3f}", (high[place], place), (6, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, min(1.0, 1.1 * float(high.max())) or 1.0)
    axes.set_xlabel(f"mean {evaluation.headline}")
    return svg.svg(figure)


def comparisons(rows: Sequence[ComparisonRow]) -> str:
    """Each difference as a point with its interval, coloured by verdict, around zero."""
    figure, axes = svg.axes(height_in=0.6 + 0.42 * len(rows))
    for place, row in enumerate(reversed(rows)):
        one, colour = row.paired.difference, _VERDICT[row.paired.verdict]
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([one.mean], [place], "o", color=colour, markersize=7)
    axes.axvline(0, color=svg.MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_yticks(range(len(rows)), [f"{row.system} – {row.baseline}" for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"difference in {rows[0].metric}")
    return svg.svg(figure)


def per_query(differences_Q: Floats, row: ComparisonRow) -> str:
    """The difference of every query, sorted: how many gain, how many lose, and how much."""
    known = np.sort(differences_Q[~np.isnan(differences_Q)])[::-1]
    figure, axes = svg.axes(height_in=2.6)
    colours = np.where(known > 0, _VERDICT["better"], np.where(known < 0, _VERDICT["worse"], svg.RULE))
    axes.bar(np.arange(len(known)), known, width=1.0, color=colours.tolist())
    axes.axhline(0, color=svg.MUTED, linewidth=1)
    gained, lost = int((known > 0).sum()), int((known < 0).sum())
    axes.set_xlabel(f"{gained} queries gain, {len(known) - gained - lost} stay, {lost} lose")
    axes.set_ylabel(f"{row.system} – {row.baseline}", color=svg.MUTED)
    axes.set_xticks([])
    axes.margins(x=0.01)
    return svg.svg(figure)


def trials(points: Sequence[tuple[int, str, float]]) -> str:
    """Each trial (number, kind, score) by kind, with the best so far as a line."""
    figure, axes = svg.axes(height_in=2.8)
    kinds = sorted({kind for _, kind, _ in points})
    for colour, kind in zip(
        itertools.cycle(_KINDS), kinds, strict=False
    ):  # every kind is drawn; far apart, colours repeat
        mine = [(number, score) for number, of, score in points if of == kind]
        axes.scatter(*zip(*mine, strict=True), s=26, color=colour, label=kind, zorder=3)
    numbers, best = [n for n, _, _ in points], np.maximum.accumulate([score for _, _, score in points])
    axes.step(numbers, best, where="post", color=svg.MUTED, linewidth=1.2, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel("score on train", color=svg.MUTED)
    axes.legend(frameon=False, ncols=6, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return svg.svg(figure)


def importances(shares: Mapping[str, float]) -> str:
    """The features that matter most, by share."""
    top = sorted(shares.items(), key=lambda item: item[1])[-_MOST_FEATURES:]
    figure, axes = svg.axes(height_in=0.5 + 0.27 * len(top))
    axes.barh([name for name, _ in top], [share for _, share in top], color=svg.OTHER, height=0.66)
    axes.set_xlabel("share of the ranker's gain")
    axes.margins(y=0.01)
    return svg.svg(figure)


def methods(arena: Arena) -> str:
    """Test means of all contenders with their intervals, the best on train on top; coloured by family, the best baseline as a line."""
    rows = [(row.entrant, row.test) for row in reversed(arena.rows) if row.test is not None]
    means = np.nan_to_num([test.mean for _, test in rows])
    low, high = (np.nan_to_num([getattr(test, end) for _, test in rows]) for end in ("low", "high"))
    figure, axes = svg.axes(height_in=0.9 + 0.3 * len(rows))
    names = [f"{one.name}  (chosen)" if one.name == arena.chosen else one.name for one, _ in rows]
    errors = np.maximum([means - low, high - means], 0.0)
    axes.barh(
        names, means, xerr=errors, color=[_FAMILY[one.family] for one, _ in rows], height=0.7, error_kw=svg.whisker()
    )
    best = next(test for one, test in rows if one.name == arena.best_baseline)
    axes.axvline(best.mean, color=svg.MUTED, linewidth=1, linestyle=(0, (3, 3)))
    for family in dict.fromkeys(one.family for one, _ in reversed(rows)):
        axes.barh([names[0]], [0], color=_FAMILY[family], label=family)
    axes.legend(frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    axes.set_xlim(0, min(1.0, 1.1 * float(high.max())) or 1.0)
    axes.set_xlabel(f"mean {arena.metric}; dashed: the best baseline, {arena.best_baseline}")
    axes.margins(y=0.01)
    return svg.svg(figure)


def missing_images(arena: Arena, lines: Sequence[tuple[str, str]]) -> str:
    """The curves by share of missing pictures: all in grey, the (contender, imputer) of `lines` in colour, in that order."""
    figure, axes = svg.axes(height_in=3.6)
    pairs = dict.fromkeys((one.method, one.imputer) for one in arena.curve)
    for pair in [*(pair for pair in pairs if pair not in lines), *lines]:
        points = [one for one in arena.curve if (one.method, one.imputer) == pair]
        across, values = [100 * one.missing for one in points], [one.value.mean for one in points]
        if pair not in lines:
            axes.plot(across, values, color=svg.RULE, linewidth=1)
            continue
        colour = svg.LINES[lines.index(pair) % len(svg.LINES)]
        name = f"{pair[0]}, {pair[1]}" if pair[1] else pair[0]
        axes.plot(across, values, color=colour, linewidth=2, marker="o", markersize=4, label=name)
        if pair == lines[0]:
            low, high = [one.value.low for one in points], [one.value.high for one in points]
            axes.fill_between(across, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.grid(axis="y", color=svg.RULE, linewidth=0.8)
    axes.set_xlabel("pictures missing, %")
    axes.set_ylabel(arena.metric, color=svg.MUTED)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return svg.svg(figure)
