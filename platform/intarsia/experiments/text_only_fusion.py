"""The text-only fusion: the best fusion of the text retrievers, searched on the same queries as the served fusion.

It is saved in the folder of the fusion of a catalog with images, and only evaluation reads it. A release without it
opens too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.experiments.evaluated_systems import Orders, fused_orders
from intarsia.experiments.fusion_objective import PackedCandidates, shrink_to_uniform
from intarsia.experiments.fusion_search_result import CUTOFF, plain_fusions
from intarsia.experiments.fusion_training_data import EncodedQueries
from intarsia.experiments.judged_candidates import JudgedCandidates
from intarsia.experiments.missing_images import text_only_candidates
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.score.weighted import WeightedConfig, fit_weighted
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.maths.ndcg import mean_known
from intarsia.records.candidates import Candidates

TEXT_ONLY_FOLDER = "text_only"
"""Folder of its `fusion.json`, in the folder of the fusion that serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOnlyData:
    """The judged queries of one split with the candidates of the text retrievers only, packed and as training data."""

    packed: PackedCandidates
    training_data: FusionTrainingData

    @staticmethod
    def of(queries: EncodedQueries, candidates: Sequence[Candidates]) -> TextOnlyData:
        """From the candidates of all retrievers."""
        text_only = [text_only_candidates(query_candidates) for query_candidates in candidates]
        return TextOnlyData(
            packed=PackedCandidates.of(text_only, queries.qrels), training_data=queries.training_data(text_only, None)
        )


def choose_text_only(
    train: TextOnlyData,
    validation: TextOnlyData,
    weighted: WeightedConfig,
    *,
    max_synthetic_loss: float | None,
    seed: int,
) -> FusionSpec:
    """The best text-only fusion without fitted parts, chosen as in the search: tuned on train, the best on validation.

    There are only two text retrievers, so the weights are searched on a grid: the best weights of each normaliser on
    train, equal weights, and RRF.

    Args:
        train: the train queries.
        validation: the validation queries.
        weighted: normalisers and depth.
        max_synthetic_loss: if all queries are synthetic, `max_loss` of `shrink_to_uniform`; None otherwise.
        seed: seed of the fit.
    """
    options = [*plain_fusions(weighted.depth).values()]
    has_relevant = any((grades > 0).any() for grades in train.training_data.grades)
    if has_relevant:  # weights cannot be fitted when the text retrievers return no relevant product
        options.append(fit_weighted(weighted, train.training_data, validation.training_data, seed).spec)
    best = max(options, key=lambda spec: mean_known(validation.packed.ndcg(spec, CUTOFF)))
    if max_synthetic_loss is None:
        return best
    return shrink_to_uniform(best, [train.packed, validation.packed], k=CUTOFF, max_loss=max_synthetic_loss)


def save_text_only(spec: FusionSpec, fusion_spec: Path) -> None:
    """Write it into the folder of the fusion that serves."""
    (fusion_spec / TEXT_ONLY_FOLDER).mkdir()
    spec.save(fusion_spec / TEXT_ONLY_FOLDER)


def open_text_only(fusion_spec: Path) -> SpecFuser | None:
    """The saved text-only fusion; None if the release has none, as for a catalog without images.

    Raises:
        ArtifactError: the file is not a fusion.
    """
    folder = fusion_spec / TEXT_ONLY_FOLDER
    return SpecFuser(FusionSpec.open(folder)) if (folder / FUSION_FILE).is_file() else None


def text_only_orders(judged: Sequence[JudgedCandidates], fuser: SpecFuser) -> Orders:
    """The order of each query by the text-only fusion."""
    return fused_orders([text_only_candidates(query.candidates) for query in judged], fuser)
