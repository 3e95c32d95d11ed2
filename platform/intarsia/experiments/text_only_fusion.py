"""The fusion of words alone: what a catalog without any picture would be answered by, found on the same queries as the fusion that serves.

It is saved beside the fusion of a catalog that has pictures, for an evaluation to measure; nothing serves by it, and a release without it
opens like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.evaluation.qrels import Qrels
from intarsia.experiments.evaluated_systems import Orders
from intarsia.experiments.fusion_search_result import CUTOFF, plain_fusions
from intarsia.experiments.fusion_training_data import EncodedQueries, fused_order, without_images
from intarsia.experiments.judged_candidates import JudgedCandidates
from intarsia.experiments.packed_candidates import PackedCandidates, shrink_to_uniform
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.score.weighted import WeightedConfig, fit_weighted
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.maths.ndcg import mean_known
from intarsia.records.candidates import Candidates

FOLDER = "text_only"
"""Holds its `fusion.json`, within the folder of the fusion that serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsJudged:
    """The judged queries of one split as only the retrievers that read words answer them, packed and as lessons."""

    task: PackedCandidates
    training_data: FusionTrainingData

    @staticmethod
    def of(asked: EncodedQueries, candidates: Sequence[Candidates], qrels: Sequence[Qrels]) -> WordsJudged:
        """From the candidates of all retrievers."""
        words = [without_images(each) for each in candidates]
        return WordsJudged(task=PackedCandidates.of(words, qrels), training_data=asked.training_data(words, None))


def choose_text_only(
    train: WordsJudged,
    validation: WordsJudged,
    weighted: WeightedConfig,
    *,
    synthetic_may_be_dropped: float | None,
    seed: int,
) -> FusionSpec:
    """The best fusion of words without fitted parts, chosen as the others of a search are: tuned on train, the best on validation.

    Two retrievers have so few weights that all are tried, instead of drawing some: each normaliser with its best weights on train, beside
    equal weights and RRF.

    Args:
        train: the train queries.
        validation: the others.
        weighted: what is tried.
        synthetic_may_be_dropped: where nobody judged any query, what weights nearer to equal may cost (see `lean_to_equal`); else None.
        seed: of the fit.
    """
    tried = [*plain_fusions(weighted.depth).values()]
    if any(
        (grades > 0).any() for grades in train.training_data.grades
    ):  # else words find nothing relevant: there is nothing to weigh
        tried.append(fit_weighted(weighted, train.training_data, validation.training_data, seed).spec)
    best = max(tried, key=lambda spec: mean_known(validation.task.ndcg(spec, CUTOFF)))
    if synthetic_may_be_dropped is None:
        return best
    return shrink_to_uniform(best, [train.task, validation.task], k=CUTOFF, may_lose=synthetic_may_be_dropped)


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
    return SpecFuser(FusionSpec.open(folder)) if (folder / FUSION_FILE).is_file() else None


def text_only_orders(judged: Sequence[JudgedCandidates], fuser: SpecFuser) -> Orders:
    """The orders of queries by their words alone, of the candidates that any catalog with or without pictures brings for them."""
    return [fused_order(fuser, without_images(each.candidates)) for each in judged]
