from __future__ import annotations

from dataclasses import replace

import pytest

from intarsia.release.promotion_gate import Evidence, ReleaseRefused, check_promotion

FEATURES = "f" * 64
_AS_IN_EVIDENCE = "the live release of the evidence"


def evidence(
    against_live: tuple[float, float, float] | None = None, *, num_queries: int = 100, release_id: str = "r-new"
) -> Evidence:
    return Evidence(
        release_id=release_id,
        metric="ndcg@10",
        num_queries=num_queries,
        live="r-live" if against_live else None,
        against_live=against_live,
    )


def gate_checks(
    evaluated: Evidence,
    *,
    manifest_fingerprint: str = FEATURES,
    live: str | None = _AS_IN_EVIDENCE,
    allow_uncompared: bool = False,
) -> dict[str, str]:
    return dict(
        check_promotion(
            evaluated,
            release_id="r-new",
            live=evaluated.live if live is _AS_IN_EVIDENCE else live,
            feature_fingerprint=FEATURES,
            manifest_fingerprint=manifest_fingerprint,
            allow_uncompared=allow_uncompared,
        )
    )


def test_the_first_release_is_not_compared() -> None:
    assert gate_checks(evidence()) == {"features": "f" * 12, "queries": "100", "against live": "nothing is live"}


NOT_OPENED = Evidence(
    release_id="r-new",
    metric="ndcg@10",
    num_queries=100,
    live="r-live",
    against_live=None,
    why_not_opened="other trees",
)


def test_an_uncompared_release_is_refused_with_a_fix() -> None:
    with pytest.raises(
        ReleaseRefused,
        match=r"r-new was not compared with the live r-live: it cannot be opened \(other trees\), and there are no "
        r"figures of it on these judgments; the live release stays\. Read the report .*`intarsia promote` with "
        r"allow_uncompared=true",
    ):
        gate_checks(NOT_OPENED)


def test_an_uncompared_release_passes_if_allowed() -> None:
    checks = gate_checks(NOT_OPENED, allow_uncompared=True)["against live"]
    assert checks.startswith(
        "not compared with r-live, as allow_uncompared=true allows: it cannot be opened (other trees)"
    )


def test_figures_of_the_live_release_replace_its_measurement() -> None:
    by_figures = replace(NOT_OPENED, against_live=(0.02, -0.01, 0.05))
    assert (
        gate_checks(by_figures)["against live"]
        == "ndcg@10 +0.0200 [-0.0100, +0.0500], to the figures of r-live at its own evaluation"
    )
    with pytest.raises(ReleaseRefused, match=r"-0\.0200 .*, to the figures of r-live at its own evaluation; the live"):
        gate_checks(replace(by_figures, against_live=(-0.02, -0.03, -0.01)), allow_uncompared=True)


@pytest.mark.parametrize(
    "against_live",
    [(0.02, 0.01, 0.03), (-0.01, -0.03, 0.01), (-0.01, -0.02, 0.0), (0.0, 0.0, 0.0)],
    ids=["better", "no difference", "upper end at 0", "equal results"],
)
def test_a_release_that_is_not_worse_passes_with_its_figures(
    against_live: tuple[float, float, float],
) -> None:
    mean, lower, upper = against_live
    assert gate_checks(evidence(against_live))["against live"] == f"ndcg@10 {mean:+.4f} [{lower:+.4f}, {upper:+.4f}]"


def test_a_worse_release_is_refused_with_its_figures() -> None:
    with pytest.raises(
        ReleaseRefused,
        match=r"release r-new is worse than the live one beyond the interval: "
        r"ndcg@10 -0\.0200 \[-0\.0300, -0\.0100\]; the live release stays",
    ):
        gate_checks(evidence((-0.02, -0.03, -0.01)))


def test_a_nan_interval_is_refused() -> None:
    nan = float("nan")
    with pytest.raises(ReleaseRefused, match=r"ndcg@10 \+nan \[\+nan, \+nan\]; the live release stays"):
        gate_checks(evidence((nan, nan, nan)))


def test_the_evaluation_of_another_release_is_refused() -> None:
    with pytest.raises(ReleaseRefused, match=r"the evaluation is of r-old, not of r-new; run `intarsia evaluate`"):
        gate_checks(evidence(release_id="r-old"))


def test_an_evaluation_against_a_former_live_release_is_refused() -> None:
    with pytest.raises(
        ReleaseRefused,
        match=r"compared r-new with r-live, but r-other is live; run `intarsia evaluate` with --force",
    ):
        gate_checks(evidence((0.0, -0.1, 0.1)), live="r-other")


def test_an_evaluation_without_queries_is_refused() -> None:
    with pytest.raises(ReleaseRefused, match="release r-new was evaluated on 0 queries; judge some queries"):
        gate_checks(evidence(num_queries=0))


def test_other_features_than_this_code_computes_are_refused() -> None:
    with pytest.raises(
        ReleaseRefused, match="built with features eeeeeeeeeeee, this code computes ffffffffffff; stage it again"
    ):
        gate_checks(evidence(), manifest_fingerprint="e" * 64)


def test_a_release_that_is_worse_with_images_is_refused() -> None:
    fine = {"ranked": (0.1, 0.05, 0.15), "ranked, 50% of images missing": (-0.01, -0.03, 0.0)}
    assert gate_checks(replace(evidence(), missing_images=fine))["images"] == "ndcg@10 +0.1000 [+0.0500, +0.1500]"
    for name in ("ranked", "ranked, 50% of images missing"):
        hurt = {**fine, name: (-0.02, -0.04, -0.001)}
        expected = (
            rf"worse with images than without any, beyond the interval: {name}: "
            r"ndcg@10 -0\.0200 \[-0\.0400, -0\.0010\];"
        )
        with pytest.raises(ReleaseRefused, match=expected):
            gate_checks(replace(evidence(), missing_images=hurt))


def test_a_fusion_below_the_text_only_fusion_is_refused() -> None:
    fine = {"fused": (0.1, 0.05, 0.15), "fused, 75% of images missing": (-0.01, -0.03, 0.0)}
    both = replace(evidence(), missing_images={"ranked": (0.2, 0.1, 0.3)}, text_only=fine)
    checks = gate_checks(both)
    assert checks["images"] == "ndcg@10 +0.2000 [+0.1000, +0.3000]"
    assert checks["images against text only"] == "ndcg@10 +0.1000 [+0.0500, +0.1500]"
    for name in fine:
        expected = (
            rf"r-new fuses worse with images than the best text-only fusion, beyond the interval: {name}: "
            r"ndcg@10 -0\.0200 \[-0\.0400, -0\.0010\]; check the images, raise search_fusion\.num_trials"
        )
        with pytest.raises(ReleaseRefused, match=expected):
            gate_checks(replace(both, text_only={**fine, name: (-0.02, -0.04, -0.001)}))


def test_a_nan_interval_over_the_text_only_fusion_is_refused() -> None:
    nan = float("nan")
    with pytest.raises(ReleaseRefused, match=r"fuses worse .*: fused: ndcg@10 \+nan"):
        gate_checks(replace(evidence(), text_only={"fused": (nan, nan, nan)}))
