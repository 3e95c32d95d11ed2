"""What is left of a release when pictures are missing: beside itself without any, and its fusion beside the fusion of words alone.

Two comparisons, each of like with like: the order that is served with what the same fusion and ranker make of words, and the fused order
with that of a fusion that was chosen for words, neither of them ranked. `gate.py` refuses by both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from intarsia.engine.search import SearchEngine
from intarsia.evaluation.compare import PairedDifference, paired_bootstrap
from intarsia.evaluation.evaluate import Evaluation, EvaluationConfig
from intarsia.evaluation.report import MissingImages
from intarsia.experiments.evaluated_systems import FUSED, RANKED, TEXT_ONLY, Orders, fused_orders, ranked_orders
from intarsia.experiments.judged_candidates import JudgedCandidates
from intarsia.experiments.missing_images import release_without_images

Gains = dict[str, tuple[float, float, float]]
"""By system: mean, lower and upper of what it has over another."""


def name_at(system: str, share: float) -> str:
    """The system's name with a share of the pictures missing."""
    return f"{system}, {share:.0%} of pictures missing" if share else system


def orders_at(
    engine: SearchEngine,
    folder: Path,
    shares: Sequence[float],
    candidates: Callable[[SearchEngine], Sequence[JudgedCandidates]],
    seed: int,
) -> dict[str, Orders]:
    """The ranked and the fused orders of a release with each share of its pictures missing, by name.

    Args:
        engine: the release, opened.
        folder: its parts.
        shares: of the products, 0..1.
        candidates: those of the judged queries in an engine.
        seed: draws whose pictures are gone.
    """
    found = {}
    for share in shares:
        with_missing_images = release_without_images(engine, folder, share, seed)
        judged = candidates(with_missing_images)
        found[name_at(RANKED, share)] = ranked_orders(judged, with_missing_images.fuser, with_missing_images.rank)
        found[name_at(FUSED, share)] = fused_orders([each.candidates for each in judged], with_missing_images.fuser)
    return found


def compare_shares(
    evaluation: Evaluation, shares: Sequence[float], config: EvaluationConfig
) -> tuple[MissingImages, ...]:
    """A row for each share, from 0 to 1, on the headline metric; a release that knows no fusion of words is compared with itself alone."""
    means = {row.name: row.metrics[evaluation.headline] for row in evaluation.systems}

    def minus(system: str, baseline: str) -> PairedDifference:
        values = evaluation.values
        return paired_bootstrap(values[system], values[baseline], seed=config.seed, num_resamples=config.num_resamples)

    return tuple(
        MissingImages(
            share=share,
            ranked=means[name_at(RANKED, share)],
            minus_none=minus(name_at(RANKED, share), name_at(RANKED, shares[-1])),
            fused=means[name_at(FUSED, share)],
            minus_text_only=minus(name_at(FUSED, share), TEXT_ONLY) if TEXT_ONLY in means else None,
        )
        for share in shares
    )


def gains_of(rows: Sequence[MissingImages]) -> tuple[Gains, Gains]:
    """What the gate reads: the ranked order's gains over itself without any picture, and the fused one's over the fusion of words alone.

    That of no picture at all is not among them: it is itself, and a catalog without pictures would be searched for a fusion anew.
    """
    ranked = {name_at(RANKED, row.share): _figures(row.minus_none) for row in rows[:-1]}
    fused = {name_at(FUSED, row.share): _figures(row.minus_text_only) for row in rows[:-1] if row.minus_text_only}
    return ranked, fused


def _figures(paired: PairedDifference) -> tuple[float, float, float]:
    gain = paired.difference
    return gain.mean, gain.low, gain.high
