"""What an arena says to people: one table, one plot of curves, the verdicts, as Markdown, one HTML file, JSON, and lines for a terminal.

Nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intarsia.config import to_jsonable
from intarsia.evaluation import plots
from intarsia.evaluation.method_comparison import Arena, ArenaRow, Contest
from intarsia.evaluation.report import format_interval, format_number, format_p, templates
from intarsia.ids import QueryId
from intarsia.lake import write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaSetting:
    """What was measured where: enough to measure it again."""

    data_set: str
    num_products: int
    num_train: int
    num_validation: int
    command: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """One line of the table of curves: the values by share of missing pictures."""

    method: str
    imputer: str
    values: tuple[float, ...]
    worse_than_text_only: tuple[bool, ...]


def write_arena(arena: Arena, setting: ArenaSetting, query_ids: Sequence[QueryId], folder: Path) -> None:
    """Write `arena.md`, `arena.html` and `arena.json`; the same arena gives the same bytes."""
    environment = templates()
    environment.filters["time"] = format_time
    shown = {
        "arena": arena,
        "setting": setting,
        "chosen": arena.row(arena.chosen),
        "shares": sorted({one.missing for one in arena.curve}),
        "curves": curve_rows(arena),
        "said": said(arena),
    }
    drawn = {"methods": plots.methods(arena)}
    if arena.curve:
        drawn["curves"] = plots.missing_images(arena, _lines_to_show(arena))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "arena.md").write_text(environment.get_template("arena.md").render(shown), encoding="utf-8")
    page = environment.get_template("arena.html").render(shown, plots=drawn)
    (folder / "arena.html").write_text(page, encoding="utf-8")
    write_json(folder / "arena.json", json_of(arena, setting, query_ids))


def lines_of(arena: Arena) -> list[str]:
    """The table for a terminal, and the verdicts."""
    lines = [
        f"{'contender':<28} train  valid  {arena.metric} [95 %]        against {arena.best_baseline:<22} p (Holm)   fit      per query"
    ]
    for row in arena.rows:
        one = row.entrant
        if row.test is None:
            lines.append(f"{one.name:<28} failed: {one.error}")
            continue
        contest = row.against.get(arena.best_baseline)
        against = _contest_text(contest) if contest else ""
        lines.append(
            f"{one.name:<28} {format_number(row.train)}  {format_number(row.validation)}  {format_interval(row.test)}  {against:<47} "
            f"{format_time(one.fit_s):>8} {one.ms_per_query:6.2f} ms"
        )
    return [*lines, *said(arena)]


def said(arena: Arena) -> list[str]:
    """What came out, in sentences."""
    row = arena.row(arena.chosen)
    lines = [
        f"chosen by train queries that its fit did not see: {arena.chosen}"
        + (f" ({row.entrant.said})" if row.entrant.said else "")
    ]
    lines += [f"{arena.chosen} against {name}: {_contest_text(contest)}" for name, contest in row.against.items()]
    if arena.image_share is not None:
        gain = arena.image_share.difference
        lines.append(
            f"{arena.chosen} against the same without pictures: {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] "
            f"{arena.image_share.verdict}"
        )
    if arena.no_curve:
        lines.append(f"missing pictures: {arena.no_curve}")
    if arena.curve:
        worse = arena.below_text_only
        shares = ", ".join(f"{one.missing:.0%}" for one in worse)
        lines.append(
            f"missing pictures, filled by {arena.imputer}: "
            + (
                f"below {arena.text_only} at {shares} missing"
                if worse
                else f"nowhere below {arena.text_only} by more than its interval"
            )
        )
    return lines


def curve_rows(arena: Arena) -> list[CurveRow]:
    """The curves as a table."""
    pairs = dict.fromkeys((one.method, one.imputer) for one in arena.curve)
    rows = []
    for method, imputer in pairs:
        points = [one for one in arena.curve if (one.method, one.imputer) == (method, imputer)]
        points.sort(key=lambda one: one.missing)
        rows.append(
            CurveRow(
                method=method,
                imputer=imputer,
                values=tuple(one.value.mean for one in points),
                worse_than_text_only=tuple(one.minus_text_only.verdict == "worse" for one in points),
            )
        )
    return rows


def json_of(arena: Arena, setting: ArenaSetting, query_ids: Sequence[QueryId]) -> dict[str, object]:
    """Every figure, and the test values query by query: None where a query has no positive."""
    return {
        "setting": to_jsonable(setting),
        "metric": arena.metric,
        "num_queries": arena.num_queries,
        "references": list(arena.references),
        "best_baseline": arena.best_baseline,
        "chosen": arena.chosen,
        "imputer": arena.imputer,
        "no_curve": arena.no_curve,
        "text_only": arena.text_only,
        "never_below_text_only": not arena.below_text_only if arena.curve else None,
        "image_share": None if arena.image_share is None else _difference(arena.image_share.difference),
        "methods": [_row_json(row) for row in arena.rows],
        "curve": [
            {
                "method": one.method,
                "imputer": one.imputer,
                "missing": one.missing,
                **_difference(one.value),
                "minus_text_only": _difference(one.minus_text_only.difference),
                "verdict": one.minus_text_only.verdict,
            }
            for one in arena.curve
        ],
        "query_ids": list(query_ids),
        "values": {
            row.entrant.name: [None if np.isnan(value) else float(value) for value in row.entrant.test_Q]
            for row in arena.rows
            if row.entrant.test_Q is not None
        },
    }


def format_time(seconds: float) -> str:
    """Seconds to a sensible digit; a dash for what takes none."""
    return "–" if not seconds else f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _contest_text(contest: Contest) -> str:
    gain = contest.paired.difference
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] p {format_p(contest.p_holm)} {contest.verdict}"


def _lines_to_show(arena: Arena) -> list[tuple[str, str]]:
    """The chosen one with its imputer first, text only, the best baseline, then the chosen one with the other imputers."""
    pairs = list(dict.fromkeys((one.method, one.imputer) for one in arena.curve))
    mine = [(arena.chosen, arena.imputer), (arena.text_only, ""), (arena.best_baseline, arena.imputer)]
    mine += [pair for pair in pairs if pair[0] == arena.chosen]
    return [pair for pair in dict.fromkeys(mine) if pair in pairs]


def _row_json(row: ArenaRow) -> dict[str, object]:
    one = row.entrant
    return {
        "name": one.name,
        "family": one.family,
        "said": one.said,
        "error": one.error,
        "train": _number(row.train),
        "validation": _number(row.validation),
        "test": None if row.test is None else _difference(row.test),
        "fit_s": round(one.fit_s, 3),
        "ms_per_query": _number(one.ms_per_query),
        "against": {
            name: {
                **_difference(contest.paired.difference),
                "p": contest.p,
                "p_holm": contest.p_holm,
                "verdict": contest.verdict,
            }
            for name, contest in row.against.items()
        },
    }


def _difference(interval: object) -> dict[str, object]:
    return {
        name: _number(value) if isinstance(value, float) else value for name, value in to_jsonable(interval).items()
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
