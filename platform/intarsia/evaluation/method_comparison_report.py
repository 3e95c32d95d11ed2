"""Report of a method comparison: Markdown, one HTML file, JSON, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.config import to_jsonable
from intarsia.evaluation import plots
from intarsia.evaluation.method_comparison import BaselineComparison, MethodComparison, MethodRow
from intarsia.evaluation.report import format_interval, format_number, format_p, nan_to_none, report_environment
from intarsia.ids import QueryId
from intarsia.lake import write_json

REPORT_NAME = "fusion_comparison"
"""Stem of the report's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSetting:
    """Data and command of a comparison: enough to run it again."""

    data_set: str
    num_products: int
    num_train: int
    num_validation: int
    command: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingImagesRow:
    """One row of the missing-images table: the values of a method with an imputer, by share of missing images."""

    method: str
    imputer: str
    values: tuple[float, ...]
    worse_than_text_only: tuple[bool, ...]


def write_comparison_report(
    comparison: MethodComparison, setting: ComparisonSetting, query_ids: Sequence[QueryId], folder: Path
) -> None:
    """Write `fusion_comparison.md`, `.html` and `.json`; the same comparison gives the same bytes.

    Args:
        comparison: the result.
        setting: its data and command.
        query_ids: the test queries, in the order of the values.
        folder: created if it does not exist.
    """
    environment = report_environment()
    environment.filters["time"] = format_time
    variables = {
        "comparison": comparison,
        "setting": setting,
        "chosen": comparison.row(comparison.chosen),
        "shares": sorted({point.missing for point in comparison.curve}),
        "curves": missing_images_rows(comparison),
        "conclusions": conclusions(comparison),
    }
    svgs = {"methods": plots.methods(comparison)}
    if comparison.curve:
        svgs["curves"] = plots.missing_images(comparison, _coloured_lines(comparison))
    folder.mkdir(parents=True, exist_ok=True)
    markdown = environment.get_template("method_comparison.md").render(variables)
    (folder / f"{REPORT_NAME}.md").write_text(markdown, encoding="utf-8")
    page = environment.get_template("method_comparison.html").render(variables, plots=svgs)
    (folder / f"{REPORT_NAME}.html").write_text(page, encoding="utf-8")
    write_json(folder / f"{REPORT_NAME}.json", comparison_to_jsonable(comparison, setting, query_ids))


def comparison_lines(comparison: MethodComparison) -> list[str]:
    """The table of methods and the conclusions, for a terminal."""
    lines = [
        f"{'method':<28} train  valid  {comparison.metric} [95 %]        against {comparison.best_baseline:<22} p "
        "(Holm)   fit      per query"
    ]
    for row in comparison.rows:
        method = row.method
        if row.test is None:
            lines.append(f"{method.name:<28} failed: {method.error}")
            continue
        against = row.against.get(comparison.best_baseline)
        lines.append(
            f"{method.name:<28} {format_number(row.train)}  {format_number(row.validation)}  "
            f"{format_interval(row.test)}  "
            f"{_difference_text(against) if against else '':<47} {format_time(method.fit_s):>8} "
            f"{method.ms_per_query:6.2f} ms"
        )
    return [*lines, *conclusions(comparison)]


def conclusions(comparison: MethodComparison) -> list[str]:
    """Sentences on the chosen method, its comparison with each baseline, and the effect of missing images."""
    row = comparison.row(comparison.chosen)
    lines = [
        f"chosen on out-of-fold train queries: {comparison.chosen}"
        + (f" ({row.method.description})" if row.method.description else "")
    ]
    lines += [f"{comparison.chosen} against {name}: {_difference_text(value)}" for name, value in row.against.items()]
    if comparison.image_gain is not None:
        gain = comparison.image_gain.difference
        lines.append(
            f"{comparison.chosen} against the same without images: {gain.mean:+.3f} [{gain.low:+.3f}, "
            f"{gain.high:+.3f}] {comparison.image_gain.verdict}"
        )
    if comparison.no_curve:
        lines.append(f"missing images: {comparison.no_curve}")
    if comparison.curve:
        shares = ", ".join(f"{point.missing:.0%}" for point in comparison.below_text_only)
        outcome = (
            f"below {comparison.text_only} at {shares} missing"
            if shares
            else f"nowhere below {comparison.text_only} by more than its interval"
        )
        lines.append(f"missing images, filled by {comparison.imputer}: {outcome}")
    return lines


def missing_images_rows(comparison: MethodComparison) -> list[MissingImagesRow]:
    """The curves as a table, a row for each (method, imputer)."""
    rows = []
    for method, imputer in dict.fromkeys((point.method, point.imputer) for point in comparison.curve):
        points = [point for point in comparison.curve if (point.method, point.imputer) == (method, imputer)]
        points.sort(key=lambda point: point.missing)
        rows.append(
            MissingImagesRow(
                method=method,
                imputer=imputer,
                values=tuple(point.value.mean for point in points),
                worse_than_text_only=tuple(point.minus_text_only.verdict == "worse" for point in points),
            )
        )
    return rows


def comparison_to_jsonable(
    comparison: MethodComparison, setting: ComparisonSetting, query_ids: Sequence[QueryId]
) -> dict[str, object]:
    """All figures, and the test values of each query: None where a query has no relevant product."""
    return {
        "setting": to_jsonable(setting),
        "metric": comparison.metric,
        "num_queries": comparison.num_queries,
        "baselines": list(comparison.baselines),
        "best_baseline": comparison.best_baseline,
        "chosen": comparison.chosen,
        "imputer": comparison.imputer,
        "no_curve": comparison.no_curve,
        "text_only": comparison.text_only,
        "never_below_text_only": not comparison.below_text_only if comparison.curve else None,
        "image_gain": None
        if comparison.image_gain is None
        else _interval_to_jsonable(comparison.image_gain.difference),
        "methods": [_row_to_jsonable(row) for row in comparison.rows],
        "curve": [
            {
                "method": point.method,
                "imputer": point.imputer,
                "missing": point.missing,
                **_interval_to_jsonable(point.value),
                "minus_text_only": _interval_to_jsonable(point.minus_text_only.difference),
                "verdict": point.minus_text_only.verdict,
            }
            for point in comparison.curve
        ],
        "query_ids": list(query_ids),
        "values": {
            row.method.name: [nan_to_none(value) for value in row.method.test_Q.tolist()]
            for row in comparison.rows
            if row.method.test_Q is not None
        },
    }


def format_time(seconds: float) -> str:
    """Seconds with one decimal below 100, none above; a dash for 0.

    >>> format_time(3.14159), format_time(1234.5), format_time(0.0)
    ('3.1 s', '1234 s', '–')
    """
    return "–" if not seconds else f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _difference_text(comparison: BaselineComparison) -> str:
    gain = comparison.paired.difference
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] p {format_p(comparison.p_holm)} {comparison.verdict}"


def _coloured_lines(comparison: MethodComparison) -> list[tuple[str, str]]:
    """The curves in colour: the chosen method with each imputer, text only, and the best baseline."""
    chosen = comparison.chosen
    pairs = list(dict.fromkeys((point.method, point.imputer) for point in comparison.curve))
    lines = [
        (chosen, comparison.imputer),
        (comparison.text_only, ""),
        (comparison.best_baseline, comparison.imputer),
        *(pair for pair in pairs if pair[0] == chosen),
    ]
    return [pair for pair in dict.fromkeys(lines) if pair in pairs]


def _row_to_jsonable(row: MethodRow) -> dict[str, object]:
    method = row.method
    return {
        "name": method.name,
        "family": method.family,
        "description": method.description,
        "error": method.error,
        "train": nan_to_none(row.train),
        "validation": nan_to_none(row.validation),
        "test": None if row.test is None else _interval_to_jsonable(row.test),
        "fit_s": round(method.fit_s, 3),
        "ms_per_query": nan_to_none(method.ms_per_query),
        "against": {
            name: {
                **_interval_to_jsonable(comparison.paired.difference),
                "p": comparison.p,
                "p_holm": comparison.p_holm,
                "verdict": comparison.verdict,
            }
            for name, comparison in row.against.items()
        },
    }


def _interval_to_jsonable(interval: object) -> dict[str, object]:
    return {
        name: nan_to_none(value) if isinstance(value, float) else value for name, value in to_jsonable(interval).items()
    }
