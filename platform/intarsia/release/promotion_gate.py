"""What a staged release must show before it may serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from intarsia.errors import IntarsiaError


class ReleaseRefused(IntarsiaError):
    """The gate did not let a release through; the message says which check and by how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evaluation of a staged release, as the gate reads it.

    `against_live` is (mean difference, lower, upper) of the primary metric, staged minus `live`, over the same queries; both are None when
    nothing was live. `why_not_opened` says why this code could not open the live release, if it could not: the difference is then to what
    its own evaluation found by the same judgments, or None when that is not known. `missing_images` is what the release has over itself
    without any picture: first with all that there are, then with some taken away; empty where there are none. `text_only` is what its fused
    order, with the same pictures, has over the best fusion of words alone; empty too where the search knew none.
    """

    release_id: str
    metric: str
    num_queries: int
    live: str | None
    against_live: tuple[float, float, float] | None
    why_not_opened: str = ""
    missing_images: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    text_only: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


def check(
    evidence: Evidence,
    *,
    release_id: str,
    live: str | None,
    feature_fingerprint: str,
    manifest_fingerprint: str,
    allow_uncompared: bool = False,
) -> Mapping[str, str]:
    """Each check that held, with its figures.

    Raises:
        ReleaseRefused: the evaluation is of another release, against another live one, or empty; the features are not this code's; the
            release was not compared with the live one, unless `allow_uncompared`; it is worse than that beyond the interval; or it is
            worse with its pictures, or with some of them, than without any, or its fusion than the fusion of words alone.
    """
    if evidence.release_id != release_id:
        raise ReleaseRefused(
            f"the evaluation is of {evidence.release_id}, not of {release_id}; run pipelines.evaluate_release"
        )
    if evidence.live != live:
        raise ReleaseRefused(
            f"the evaluation set {release_id} beside {evidence.live or 'nothing'}, but {live or 'nothing'} is live; "
            "run pipelines.evaluate_release --force"
        )
    if evidence.num_queries < 1:
        raise ReleaseRefused(f"release {release_id} was evaluated on 0 queries; judge some queries of the test split")
    if feature_fingerprint != manifest_fingerprint:
        raise ReleaseRefused(
            f"release {release_id} was built with features {manifest_fingerprint[:12]}, this code computes {feature_fingerprint[:12]}; "
            "stage it again with this code"
        )
    held = {"features": feature_fingerprint[:12], "queries": str(evidence.num_queries)}
    held |= _images(evidence)
    if live is None:
        return held | {"against live": "nothing is live"}
    if evidence.against_live is None:
        why = f"it cannot be opened ({evidence.why_not_opened}), and no figures of it by these judgments are kept"
        if not allow_uncompared:
            raise ReleaseRefused(
                f"release {release_id} was not compared with the live {live}: {why}; the live release stays. Read the report of the "
                "evaluation; when it is good enough, run pipelines.promote_release with allow_uncompared=true"
            )
        return held | {"against live": f"not compared with {live}, as allow_uncompared=true allows: {why}"}
    mean, lower, upper = evidence.against_live
    text = f"{evidence.metric} {mean:+.4f} [{lower:+.4f}, {upper:+.4f}]"
    text += f", to the figures of {live} at its own evaluation" if evidence.why_not_opened else ""
    if not upper >= 0:  # nan too: an interval that could not be computed proves nothing
        raise ReleaseRefused(
            f"release {release_id} is worse than the live one beyond the interval: {text}; the live release stays"
        )
    return held | {"against live": text}


def _images(evidence: Evidence) -> Mapping[str, str]:
    """What pictures are worth to the release: over itself without any, and over the best fusion of words alone.

    Raises:
        ReleaseRefused: it is worse with its pictures, or with some of them, than without any, or its fusion is worse than that of words.
    """
    held = _never_below(
        evidence,
        evidence.missing_images,
        "does worse with pictures than without any",
        "look at the pictures, raise build_training_rows.missing_images, or set search_fusion.space.kinds to kinds that do not read them",
    )
    over_text_only = _never_below(
        evidence,
        evidence.text_only,
        "fuses worse with pictures than the best fusion of words alone",
        "look at the pictures, raise search_fusion.num_trials, or search other search_fusion.space.kinds",
    )
    return {
        **({"pictures": held} if held else {}),
        **({"pictures against text only": over_text_only} if over_text_only else {}),
    }


def _never_below(
    evidence: Evidence, gains: Mapping[str, tuple[float, float, float]], what: str, mend: str
) -> str | None:
    """The first gain in words, when none is below 0 by more than its interval; None of none."""
    said = {
        name: f"{evidence.metric} {mean:+.4f} [{lower:+.4f}, {upper:+.4f}]"
        for name, (mean, lower, upper) in gains.items()
    }
    hurt = [name for name, (_, _, upper) in gains.items() if not upper >= 0]
    if hurt:
        raise ReleaseRefused(
            f"release {evidence.release_id} {what}, beyond the interval: {'; '.join(f'{name}: {said[name]}' for name in hurt)}; {mend}; "
            "evaluate_release.missing_images says which shares are asked"
        )
    return next(iter(said.values()), None)
