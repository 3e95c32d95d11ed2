"""What an evaluation says to people: plain tables and notes, written as Markdown and as one HTML file that needs nothing else.

The tables are made by `evaluate.py`; here nothing is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from intarsia.evaluation import curve_plots, plots
from intarsia.evaluation.compare import Interval, PairedDifference
from intarsia.evaluation.evaluate import Evaluation
from intarsia.evaluation.learning_curves import LearningCurve, curve_rows

_MOST_TRIALS = 200
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What was measured where: enough to measure it again.

    Attributes:
        data_set: name of the catalog and its judgments.
        split: of the judged queries.
        num_products: size of the catalog.
        depth: candidates each retriever may bring.
        confidence: of the intervals.
        commands: that made this report, in order.
        release_id: what was measured, when it is a release.
    """

    data_set: str
    split: str
    num_products: int
    depth: int
    commands: tuple[str, ...]
    confidence: float = 0.95
    release_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionTrial:
    """One point of the fusion search.

    Attributes:
        number: in the order they were chosen.
        kind: of fusion; empty where all points of the fitted kinds failed together.
        settings: in words.
        score: mean on the train queries, of those measured so far where the trial was stopped; None where it failed.
        stopped: it was given up before it was measured to the end.
        error: why it failed; empty where it did not.
    """

    number: int
    kind: str
    settings: str = ""
    score: float | None
    stopped: bool = False
    error: str = ""

    @property
    def state(self) -> str:
        """How it ended."""
        return f"failed: {self.error}" if self.error else "stopped early" if self.stopped else "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingImages:
    """What is left when a share of the products has no picture.

    Attributes:
        share: 0..1.
        ranked: of the order that is served.
        minus_none: that order minus the same system without any picture.
        fused: of the fused order.
        minus_text_only: the fused order minus that of the fusion of words alone, where there is one.
    """

    share: float
    ranked: Interval
    minus_none: PairedDifference
    fused: Interval
    minus_text_only: PairedDifference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """Everything a report shows.

    Attributes:
        title: of the page.
        setting: what was measured where.
        evaluation: the tables; the first comparison is the headline.
        summary: one or two sentences on what came out; may be empty.
        missing_images: by share, from 0 to 1; may be empty.
        fusion_trials: of the search for the fusion, in order; may be empty.
        fusion_choice: a sentence on how the fusion that serves was chosen; may be empty.
        learning_curves: of the fitted parts; may be empty.
        importances: share of each feature in the ranker's gain; may be empty.
        notes: how to read the figures, what was chosen and why.
        defects: what is wrong with the data or the result, with counts.
    """

    title: str
    setting: Setting
    evaluation: Evaluation
    summary: str = ""
    missing_images: tuple[MissingImages, ...] = ()
    fusion_trials: tuple[FusionTrial, ...] = ()
    fusion_choice: str = ""
    learning_curves: tuple[LearningCurve, ...] = ()
    importances: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()


def write_report(report: EvaluationReport, folder: Path) -> tuple[Path, Path]:
    """Write `report.md` and `report.html`; returns their paths. The same report gives the same bytes."""
    environment = templates()
    folder.mkdir(parents=True, exist_ok=True)
    shown = {
        "report": report,
        "setting": report.setting,
        "evaluation": report.evaluation,
        "best": _best(report.evaluation),
        "curves": curve_rows(report.learning_curves),
        "trials": best_trials(report.fusion_trials)[:_MOST_TRIALS],
    }
    markdown, page = folder / "report.md", folder / "report.html"
    markdown.write_text(environment.get_template("report.md").render(shown), encoding="utf-8")
    page.write_text(environment.get_template("report.html").render(shown, plots=_plots(report)), encoding="utf-8")
    return markdown, page


def best_trials(trials: Sequence[FusionTrial]) -> list[FusionTrial]:
    """The best first; then those stopped early, whose figures are of fewer queries; the failed last."""
    return sorted(trials, key=lambda one: (one.score is None, one.stopped, -(one.score or 0.0), one.number))


def templates() -> Environment:
    """The templates of all reports, with the filters that write figures."""
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
    """Three decimals; a dash where there is nothing to average."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def format_interval(interval: Interval) -> str:
    """A mean with its interval."""
    if math.isnan(interval.mean):
        return "–"
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def format_difference(paired: PairedDifference) -> str:
    """A mean difference with its interval, signed."""
    gain = paired.difference
    return "–" if math.isnan(gain.mean) else f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def format_p(value: float) -> str:
    """Three decimals; what is smaller says so, and is not called 0."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _best(evaluation: Evaluation) -> dict[str, float]:
    """The highest mean of each metric: what tables print bold."""
    names = evaluation.systems[0].metrics if evaluation.systems else {}
    return {
        name: max(
            (row.metrics[name].mean for row in evaluation.systems if not math.isnan(row.metrics[name].mean)),
            default=0.0,
        )
        for name in names
    }


def _plots(report: EvaluationReport) -> dict[str, str]:
    """Inline SVG by name; only those that have something to show."""
    evaluation = report.evaluation
    drawn = {"systems": plots.systems(evaluation)}
    if evaluation.comparisons:
        first = evaluation.comparisons[0]
        drawn["comparisons"] = plots.comparisons(evaluation.comparisons)
        drawn["queries"] = plots.per_query(evaluation.values[first.system] - evaluation.values[first.baseline], first)
    if report.fusion_trials:
        points = [(t.number, t.kind, t.score) for t in report.fusion_trials if t.score is not None]
        drawn["trials"] = plots.trials(points)
    if report.learning_curves:
        drawn["learning_curves"] = curve_plots.learning_curves(report.learning_curves)
    if report.importances:
        drawn["importances"] = plots.importances(report.importances)
    return drawn
