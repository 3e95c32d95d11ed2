from __future__ import annotations

from dataclasses import replace

import pytest

from intarsia.release.promotion_gate import Evidence, ReleaseRefused, check

FEATURES = "f" * 64
_AS_EVALUATED = "the one the evaluation names"


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


def judge(
    found: Evidence,
    *,
    manifest_fingerprint: str = FEATURES,
    live: str | None = _AS_EVALUATED,
    allow_uncompared: bool = False,
) -> dict[str, str]:
    return dict(
        check(
            found,
            release_id="r-new",
            live=found.live if live is _AS_EVALUATED else live,
            feature_fingerprint=FEATURES,
            manifest_fingerprint=manifest_fingerprint,
            allow_uncompared=allow_uncompared,
        )
    )


def test_the_first_release_has_nothing_to_beat() -> None:
    assert judge(evidence()) == {"features": "f" * 12, "queries": "100", "against live": "nothing is live"}


NOT_OPENED = Evidence(
    release_id="r-new",
    metric="ndcg@10",
    num_queries=100,
    live="r-live",
    against_live=None,
    why_not_opened="other trees",
)


def test_a_release_that_could_not_be_compared_with_the_live_one_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        ReleaseRefused,
        match=r"r-new was not compared with the live r-live: it cannot be opened \(other trees\), and no figures of it "
        r".* are kept; the live release stays\. Read the report .*promote_release with allow_uncompared=true",
    ):
        judge(NOT_OPENED)


def test_who_allows_it_promotes_without_a_comparison_and_the_check_says_so() -> None:
    held = judge(NOT_OPENED, allow_uncompared=True)["against live"]
    assert held.startswith(
        "not compared with r-live, as allow_uncompared=true allows: it cannot be opened (other trees)"
    )


def test_figures_of_the_live_release_at_its_own_evaluation_stand_in_for_it() -> None:
    then = replace(NOT_OPENED, against_live=(0.02, -0.01, 0.05))
    assert (
        judge(then)["against live"]
        == "ndcg@10 +0.0200 [-0.0100, +0.0500], to the figures of r-live at its own evaluation"
    )
    with pytest.raises(ReleaseRefused, match=r"-0\.0200 .*, to the figures of r-live at its own evaluation; the live"):
        judge(replace(then, against_live=(-0.02, -0.03, -0.01)), allow_uncompared=True)


@pytest.mark.parametrize(
    "against_live",
    [(0.02, 0.01, 0.03), (-0.01, -0.03, 0.01), (-0.01, -0.02, 0.0), (0.0, 0.0, 0.0)],
    ids=["better", "no difference", "its edge", "the same pages"],
)
def test_a_release_that_is_not_worse_beyond_the_interval_passes_with_its_figures(
    against_live: tuple[float, float, float],
) -> None:
    mean, lower, upper = against_live
    assert judge(evidence(against_live))["against live"] == f"ndcg@10 {mean:+.4f} [{lower:+.4f}, {upper:+.4f}]"


def test_a_release_that_is_worse_beyond_the_interval_is_refused_with_its_figures() -> None:
    with pytest.raises(
        ReleaseRefused,
        match=r"release r-new is worse than the live one beyond the interval: "
        r"ndcg@10 -0\.0200 \[-0\.0300, -0\.0100\]; the live release stays",
    ):
        judge(evidence((-0.02, -0.03, -0.01)))


def test_an_interval_that_could_not_be_computed_proves_nothing() -> None:
    nan = float("nan")
    with pytest.raises(ReleaseRefused, match=r"ndcg@10 \+nan \[\+nan, \+nan\]; the live release stays"):
        judge(evidence((nan, nan, nan)))


def test_the_evaluation_of_another_release_is_refused() -> None:
    with pytest.raises(
        ReleaseRefused, match=r"the evaluation is of r-old, not of r-new; run pipelines\.evaluate_release"
    ):
        judge(evidence(release_id="r-old"))


def test_an_evaluation_beside_a_release_that_is_no_longer_live_is_refused() -> None:
    with pytest.raises(
        ReleaseRefused, match=r"set r-new beside r-live, but r-other is live; run pipelines\.evaluate_release --force"
    ):
        judge(evidence((0.0, -0.1, 0.1)), live="r-other")


def test_an_evaluation_without_queries_is_refused() -> None:
    with pytest.raises(ReleaseRefused, match="release r-new was evaluated on 0 queries; judge some queries"):
        judge(evidence(num_queries=0))


def test_features_that_this_code_does_not_compute_are_refused() -> None:
    with pytest.raises(
        ReleaseRefused, match="built with features eeeeeeeeeeee, this code computes ffffffffffff; stage it again"
    ):
        judge(evidence(), manifest_fingerprint="e" * 64)


def test_a_release_that_its_images_hurt_is_refused_however_many_are_left() -> None:
    fine = {"ranked": (0.1, 0.05, 0.15), "ranked, 50% of pictures missing": (-0.01, -0.03, 0.0)}
    assert judge(replace(evidence(), missing_images=fine))["pictures"] == "ndcg@10 +0.1000 [+0.0500, +0.1500]"
    for name in ("ranked", "ranked, 50% of pictures missing"):
        hurt = {**fine, name: (-0.02, -0.04, -0.001)}
        expected = rf"worse with pictures than without any, beyond the interval: {name}: ndcg@10 -0\.0200 \[-0\.0400, -0\.0010\];"
        with pytest.raises(ReleaseRefused, match=expected):
            judge(replace(evidence(), missing_images=hurt))


def test_a_release_whose_fusion_falls_below_that_of_words_alone_is_refused_however_many_images_are_left() -> None:
    fine = {"fused": (0.1, 0.05, 0.15), "fused, 75% of pictures missing": (-0.01, -0.03, 0.0)}
    asked = replace(evidence(), missing_images={"ranked": (0.2, 0.1, 0.3)}, text_only=fine)
    held = judge(asked)
    assert held["pictures"] == "ndcg@10 +0.2000 [+0.1000, +0.3000]"
    assert held["pictures against text only"] == "ndcg@10 +0.1000 [+0.0500, +0.1500]"
    for name in fine:
        expected = (
            rf"r-new fuses worse with pictures than the best fusion of words alone, beyond the interval: {name}: "
            r"ndcg@10 -0\.0200 \[-0\.0400, -0\.0010\]; look at the pictures, raise search_fusion\.num_trials"
        )
        with pytest.raises(ReleaseRefused, match=expected):
            judge(replace(asked, text_only={**fine, name: (-0.02, -0.04, -0.001)}))


def test_an_interval_over_the_fusion_of_words_that_could_not_be_computed_proves_nothing() -> None:
    nan = float("nan")
    with pytest.raises(ReleaseRefused, match=r"fuses worse .*: fused: ndcg@10 \+nan"):
        judge(replace(evidence(), text_only={"fused": (nan, nan, nan)}))
