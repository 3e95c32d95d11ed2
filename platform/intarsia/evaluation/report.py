"""Report of an evaluation: Markdown, one HTML file without external files, JSON, and lines for a terminal.

`evaluate.py` makes the tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from intarsia.config import to_jsonable
from intarsia.evaluation import plots
from intarsia.evaluation.evaluate import Evaluation
from intarsia.evaluation.learning_curves import LearningCurve, learning_curve_rows
from intarsia.evaluation.significance import Interval, PairedDifference
from intarsia.ids import QueryId

_MAX_TRIALS = 200
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSetting:
    """Data and commands of an evaluation: enough to run it again.

    Attributes:
        data_set: name of the catalog and its judgments.
        split: split of the judged queries.
        num_products: size of the catalog.
        depth: candidates per retriever.
        commands: the commands that made the report, in order.
        confidence: confidence level of the intervals.
        release_id: the measured release; may be empty.
    """

    data_set: str
    split: str
    num_products: int
    depth: int
    commands: tuple[str, ...]
    confidence: float = 0.95
    release_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionTrialRow:
    """One trial of the fusion search.

    Attributes:
        number: in the order in which the search chose them.
        kind: fusion method; empty where all fitted methods failed together.
        settings: its settings as text.
        score: mean on the train queries; of a stopped trial, over the queries measured so far; None for a failed one.
        stopped: stopped early.
        error: why it failed; empty otherwise.
    """

    number: int
    kind: str
    settings: str = ""
    score: float | None
    stopped: bool = False
    error: str = ""

    @property
    def state(self) -> str:
        """How the trial ended, as text."""
        return f"failed: {self.error}" if self.error else "stopped early" if self.stopped else "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingImagesResult:
    """A release with a share of the product images removed.

    Attributes:
        share: 0..1.
        ranked: the served order.
        minus_none: that order minus the same system without any image.
        fused: the fused order.
        minus_text_only: the fused order minus that of the text-only fusion; None if the release has none.
    """

    share: float
    ranked: Interval
    minus_none: PairedDifference
    fused: Interval
    minus_text_only: PairedDifference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """The content of a report.

    Attributes:
        title: title of the page.
        setting: data and commands.
        evaluation: the tables; the first comparison is the headline.
        summary: one or two sentences on the outcome; may be empty.
        missing_images: by share, from 0 to 1; may be empty.
        fusion_trials: the trials of the fusion search, in order; may be empty.
        fusion_choice: how the fusion was chosen, as text; may be empty.
        learning_curves: learning curves of the fitted parts; may be empty.
        importances: share of each feature in the ranker's gain; may be empty.
        notes: how to read the figures, what was chosen and why.
        defects: what is wrong with the data or the result, with counts.
    """

    title: str
    setting: EvaluationSetting
    evaluation: Evaluation
    summary: str = ""
    missing_images: tuple[MissingImagesResult, ...] = ()
    fusion_trials: tuple[FusionTrialRow, ...] = ()
    fusion_choice: str = ""
    learning_curves: tuple[LearningCurve, ...] = ()
    importances: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()


def write_report(report: EvaluationReport, folder: Path) -> tuple[Path, Path]:
    """Write `report.md` and `report.html`; returns their paths. The same report gives the same bytes."""
    environment = report_environment()
    folder.mkdir(parents=True, exist_ok=True)
    variables = {
        "report": report,
        "setting": report.setting,
        "evaluation": report.evaluation,
        "best": _best(report.evaluation),
        "curves": learning_curve_rows(report.learning_curves),
        "trials": best_trials(report.fusion_trials)[:_MAX_TRIALS],
    }
    markdown, page = folder / "report.md", folder / "report.html"
    markdown.write_text(environment.get_template("report.md").render(variables), encoding="utf-8")
    html = environment.get_template("report.html").render(variables, plots=_plots(report))
    page.write_text(html, encoding="utf-8")
    return markdown, page


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """The headline metric of every system, and every comparison with its verdict, for a terminal."""
    lines = [f"{'system':<22} {evaluation.headline} [95 %]"]
    lines += [f"{row.name:<22} {format_interval(row.metrics[evaluation.headline])}" for row in evaluation.systems]
    for row in evaluation.comparisons:
        gain = row.paired.difference
        lines.append(
            f"{row.system} minus {row.baseline}: {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] "
            f"p {format_p(row.p_holm)} {row.paired.verdict}"
        )
    return lines


def evaluation_to_jsonable(evaluation: Evaluation, query_ids: Sequence[QueryId]) -> dict[str, object]:
    """All metrics, all comparisons, and the headline metric of each query; None without a relevant product."""
    return {
        "headline": evaluation.headline,
        "systems": {row.name: to_jsonable(row.metrics) | {"coverage": row.coverage} for row in evaluation.systems},
        "comparisons": [
            {
                "system": row.system,
                "baseline": row.baseline,
                "verdict": row.paired.verdict,
                "p_holm": nan_to_none(row.p_holm),
                **to_jsonable(row.paired.difference),
            }
            for row in evaluation.comparisons
        ],
        "query_ids": list(query_ids),
        "values": {
            name: [nan_to_none(value) for value in values_Q.tolist()] for name, values_Q in evaluation.values.items()
        },
    }


def best_trials(trials: Sequence[FusionTrialRow]) -> list[FusionTrialRow]:
    """Best first, then those stopped early, whose scores are over fewer queries, then the failed ones."""
    return sorted(trials, key=lambda row: (row.score is None, row.stopped, -(row.score or 0.0), row.number))


def report_environment() -> Environment:
    """The Jinja environment of all reports, with the filters that format figures."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        autoescape=lambda name: bool(name and name.endswith(".html")),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": format_number,
        "interval": format_interval,
        "difference": format_difference,
        "p": format_p,
        "percent": lambda share: f"{share:.1%}",
        "thousands": lambda number: f"{number:,}",
        "cell": lambda text: str(text).replace("|", r"\|").replace("\n", " "),
    }
    return environment


def format_number(value: float) -> str:
    """Three decimals; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def format_interval(interval: Interval) -> str:
    """A mean with its interval; a dash for NaN."""
    if math.isnan(interval.mean):
        return "–"
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def format_difference(paired: PairedDifference) -> str:
    """A mean difference with its interval, signed; a dash for NaN."""
    gain = paired.difference
    return "–" if math.isnan(gain.mean) else f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def format_p(value: float) -> str:
    """A p value with three decimals, never rounded to 0; a dash for NaN.

    >>> format_p(0.0001), format_p(0.25)
    ('< 0.001', '0.250')
    """
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def nan_to_none(value: float) -> float | None:
    """The value, None for NaN: JSON has no NaN."""
    return None if math.isnan(value) else value


def _best(evaluation: Evaluation) -> dict[str, float]:
    """The highest mean of each metric, printed in bold."""
    names = evaluation.systems[0].metrics if evaluation.systems else {}
    return {
        name: max(
            (row.metrics[name].mean for row in evaluation.systems if not math.isnan(row.metrics[name].mean)),
            default=0.0,
        )
        for name in names
    }


def _plots(report: EvaluationReport) -> dict[str, str]:
    """Inline SVG by name; a plot without data is left out."""
    evaluation = report.evaluation
    svgs = {"systems": plots.systems(evaluation)}
    if evaluation.comparisons:
        first = evaluation.comparisons[0]
        svgs["comparisons"] = plots.comparisons(evaluation.comparisons)
        svgs["queries"] = plots.per_query(evaluation.values[first.system] - evaluation.values[first.baseline], first)
    if report.fusion_trials:
        points = [(t.number, t.kind, t.score) for t in report.fusion_trials if t.score is not None]
        svgs["trials"] = plots.trials(points)
    if report.learning_curves:
        svgs["learning_curves"] = plots.learning_curves(report.learning_curves)
    if report.importances:
        svgs["importances"] = plots.importances(report.importances)
    return svgs
