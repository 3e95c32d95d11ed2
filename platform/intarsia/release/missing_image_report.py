"""Measure a release with missing images: against itself without any image, and its fusion against the text-only fusion.

Both comparisons are like with like: the served order against the same fusion and ranker over text only, and the fused
order against the fusion that was chosen for text, both without a ranker. `promotion_gate.py` uses both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from intarsia.engine.search import SearchEngine
from intarsia.evaluation.evaluate import Evaluation, EvaluationConfig
from intarsia.evaluation.report import MissingImagesResult
from intarsia.evaluation.significance import PairedDifference, paired_bootstrap
from intarsia.experiments.evaluated_systems import FUSED, RANKED, TEXT_ONLY, Orders, fused_orders, ranked_orders
from intarsia.experiments.judged_candidates import JudgedCandidates
from intarsia.experiments.missing_images import release_without_images

Gains = dict[str, tuple[float, float, float]]
"""By system: mean, lower and upper end of the interval of its gain over another system."""


def name_at(system: str, share: float) -> str:
    """The system's name with a share of the images missing.

    >>> name_at("ranked", 0.25), name_at("ranked", 0.0)
    ('ranked, 25% of images missing', 'ranked')
    """
    return f"{system}, {share:.0%} of images missing" if share else system


def orders_at(
    engine: SearchEngine,
    folder: Path,
    shares: Sequence[float],
    candidates: Callable[[SearchEngine], Sequence[JudgedCandidates]],
    seed: int,
) -> dict[str, Orders]:
    """The ranked and the fused orders of a release with each share of its images missing, by name.

    Args:
        engine: the opened release.
        folder: folder of the release.
        shares: shares of the products, 0..1.
        candidates: retrieves the judged queries in an engine.
        seed: draws the products that lose their images.
    """
    orders = {}
    for share in shares:
        with_missing_images = release_without_images(engine, folder, share, seed)
        judged = candidates(with_missing_images)
        orders[name_at(RANKED, share)] = ranked_orders(judged, with_missing_images.fuser, with_missing_images.rank)
        orders[name_at(FUSED, share)] = fused_orders([query.candidates for query in judged], with_missing_images.fuser)
    return orders


def compare_shares(
    evaluation: Evaluation, shares: Sequence[float], config: EvaluationConfig
) -> tuple[MissingImagesResult, ...]:
    """A row for each share, from 0 to 1, on the headline metric.

    Without a text-only fusion only the first comparison is made.
    """
    means = {row.name: row.metrics[evaluation.headline] for row in evaluation.systems}

    def minus(system: str, baseline: str) -> PairedDifference:
        values = evaluation.values
        return paired_bootstrap(values[system], values[baseline], seed=config.seed, num_resamples=config.num_resamples)

    return tuple(
        MissingImagesResult(
            share=share,
            ranked=means[name_at(RANKED, share)],
            minus_none=minus(name_at(RANKED, share), name_at(RANKED, shares[-1])),
            fused=means[name_at(FUSED, share)],
            minus_text_only=minus(name_at(FUSED, share), TEXT_ONLY) if TEXT_ONLY in means else None,
        )
        for share in shares
    )


def gains_of(rows: Sequence[MissingImagesResult]) -> tuple[Gains, Gains]:
    """The gains for the gate: ranked over ranked without images, and fused over the text-only fusion.

    The last share, no image at all, is left out: its ranked gain is 0, and a catalog without images would get another
    fusion.
    """
    ranked = {name_at(RANKED, row.share): _figures(row.minus_none) for row in rows[:-1]}
    fused = {name_at(FUSED, row.share): _figures(row.minus_text_only) for row in rows[:-1] if row.minus_text_only}
    return ranked, fused


def _figures(paired: PairedDifference) -> tuple[float, float, float]:
    gain = paired.difference
    return gain.mean, gain.low, gain.high
