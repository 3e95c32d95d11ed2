"""The fusion of words alone: what a catalog without any picture would be answered by, found on the same queries as the fusion that serves.

It is saved beside the fusion of a catalog that has pictures, for an evaluation to measure; nothing serves by it, and a release without it
opens like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.engine.candidates import JudgedCandidates
from intarsia.engine.fusion_lessons import Asked, fused_order, without_pictures
from intarsia.engine.fusion_search import CUTOFF, plain_fusions
from intarsia.engine.fusion_task import FusionTask, lean_to_equal, mean_known
from intarsia.engine.systems import Orders
from intarsia.evaluation.qrels import Qrels
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.protocol import Lessons
from intarsia.fusion.spec import FILE, FusionSpec
from intarsia.fusion.weighted import WeightedConfig, fit_weighted
from intarsia.records.candidates import Candidates

FOLDER = "text_only"
"""Holds its `fusion.json`, within the folder of the fusion that serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsJudged:
    """The judged queries of one split as only the retrievers that read words answer them, packed and as lessons."""

    task: FusionTask
    lessons: Lessons

    @staticmethod
    def of(asked: Asked, candidates: Sequence[Candidates], qrels: Sequence[Qrels]) -> WordsJudged:
        """From the candidates of all retrievers."""
        words = [without_pictures(each) for each in candidates]
        return WordsJudged(task=FusionTask.of(words, qrels), lessons=asked.lessons(words, None))


def choose_text_only(
    train: WordsJudged, validation: WordsJudged, weighted: WeightedConfig, *, made_may_lose: float | None, seed: int
) -> FusionSpec:
    """The best fusion of words without fitted parts, chosen as the others of a search are: tuned on train, the best on validation.

    Two retrievers have so few weights that all are tried, instead of drawing some: each normaliser with its best weights on train, beside
    equal weights and RRF.

    Args:
        train: the train queries.
        validation: the others.
        weighted: what is tried.
        made_may_lose: where nobody judged any query, what weights nearer to equal may cost (see `lean_to_equal`); else None.
        seed: of the fit.
    """
    tried = [*plain_fusions(weighted.depth).values()]
    if any(
        (grades > 0).any() for grades in train.lessons.grades
    ):  # else words find nothing relevant: there is nothing to weigh
        tried.append(fit_weighted(weighted, train.lessons, validation.lessons, seed).spec)
    best = max(tried, key=lambda spec: mean_known(validation.task.ndcg(spec, CUTOFF)))
    if made_may_lose is None:
        return best
    return lean_to_equal(best, [train.task, validation.task], k=CUTOFF, may_lose=made_may_lose)


def save_text_only(spec: FusionSpec, fusion_spec: Path) -> None:
    """Write it into the folder of the fusion that serves."""
    (fusion_spec / FOLDER).mkdir()
    spec.save(fusion_spec / FOLDER)


def open_text_only(fusion_spec: Path) -> SpecFuser | None:
    """What was saved; None in a catalog without pictures, or of a search that knew none.

    Raises:
        ArtifactError: it is torn.
    """
    folder = fusion_spec / FOLDER
    return SpecFuser(FusionSpec.open(folder)) if (folder / FILE).is_file() else None


def text_only_orders(judged: Sequence[JudgedCandidates], fuser: SpecFuser) -> Orders:
    """The orders of queries by their words alone, of the candidates that any catalog with or without pictures brings for them."""
    return [fused_order(fuser, without_pictures(each.candidates)) for each in judged]
