"""The checks that a staged release must pass before it may serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from intarsia.errors import IntarsiaError


class ReleaseRefused(IntarsiaError):
    """The gate refused a release; the message names the check and its figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evaluation of a staged release, as the gate reads it. A gain is (mean, lower, upper) of a paired difference.

    Attributes:
        release_id: the evaluated release.
        metric: the headline metric.
        num_queries: queries with a relevant product.
        live: the release that it was compared with; None if none was live.
        against_live: gain over `live`; None if none was live, or if `live` could not be measured.
        why_not_opened: why this code cannot open the live release; empty if it can. `against_live` is then the gain
            over the figures of that release's own evaluation, or None if these are not known.
        missing_images: gains of the release over itself without any image, first with all images, then with some
            missing; empty without images.
        text_only: gains of its fused order over the text-only fusion, at the same shares; empty if there is no
            text-only fusion.
    """

    release_id: str
    metric: str
    num_queries: int
    live: str | None
    against_live: tuple[float, float, float] | None
    why_not_opened: str = ""
    missing_images: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    text_only: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


def check_promotion(
    evidence: Evidence,
    *,
    release_id: str,
    live: str | None,
    feature_fingerprint: str,
    manifest_fingerprint: str,
    allow_uncompared: bool = False,
) -> Mapping[str, str]:
    """The passed checks by name, with their figures.

    Raises:
        ReleaseRefused: the evaluation is of another release, against another live one, or has no query; the release has
            other features than this code; it was not compared with the live release, unless `allow_uncompared`; it is
            worse than that beyond the interval; it is worse with all or some of its images than without any; or its
            fusion is worse than the text-only fusion.
    """
    if evidence.release_id != release_id:
        raise ReleaseRefused(
            f"the evaluation is of {evidence.release_id}, not of {release_id}; run `intarsia evaluate`"
        )
    if evidence.live != live:
        raise ReleaseRefused(
            f"the evaluation compared {release_id} with {evidence.live or 'nothing'}, but {live or 'nothing'} is live; "
            "run `intarsia evaluate` with --force"
        )
    if evidence.num_queries < 1:
        raise ReleaseRefused(f"release {release_id} was evaluated on 0 queries; judge some queries of the test split")
    if feature_fingerprint != manifest_fingerprint:
        raise ReleaseRefused(
            f"release {release_id} was built with features {manifest_fingerprint[:12]}, this code computes "
            f"{feature_fingerprint[:12]}; stage it again with this code"
        )
    checks = {"features": feature_fingerprint[:12], "queries": str(evidence.num_queries)}
    checks |= _check_images(evidence)
    if live is None:
        return checks | {"against live": "nothing is live"}
    if evidence.against_live is None:
        why = f"it cannot be opened ({evidence.why_not_opened}), and there are no figures of it on these judgments"
        if not allow_uncompared:
            raise ReleaseRefused(
                f"release {release_id} was not compared with the live {live}: {why}; the live release stays. Read the "
                "report of the evaluation; if it is good enough, run `intarsia promote` with "
                "allow_uncompared=true"
            )
        return checks | {"against live": f"not compared with {live}, as allow_uncompared=true allows: {why}"}
    mean, lower, upper = evidence.against_live
    text = f"{evidence.metric} {mean:+.4f} [{lower:+.4f}, {upper:+.4f}]"
    text += f", to the figures of {live} at its own evaluation" if evidence.why_not_opened else ""
    if not upper >= 0:  # also refuses NaN: there was no interval
        raise ReleaseRefused(
            f"release {release_id} is worse than the live one beyond the interval: {text}; the live release stays"
        )
    return checks | {"against live": text}


def _check_images(evidence: Evidence) -> Mapping[str, str]:
    """Check that images help the release, or at least do not hurt it.

    Raises:
        ReleaseRefused: it is worse with all or some of its images than without any, or its fusion is worse than the
            text-only fusion.
    """
    over_none = _check_gains(
        evidence,
        evidence.missing_images,
        problem="is worse with images than without any",
        fix="check the images, raise build_training_rows.missing_images, or set search_fusion.space.kinds to methods "
        "that do not read them",
    )
    over_text_only = _check_gains(
        evidence,
        evidence.text_only,
        problem="fuses worse with images than the best text-only fusion",
        fix="check the images, raise search_fusion.num_trials, or search other search_fusion.space.kinds",
    )
    return {
        **({"images": over_none} if over_none else {}),
        **({"images against text only": over_text_only} if over_text_only else {}),
    }


def _check_gains(
    evidence: Evidence, gains: Mapping[str, tuple[float, float, float]], *, problem: str, fix: str
) -> str | None:
    """The first gain as text if none is below 0 beyond its interval; None without gains."""
    texts = {
        name: f"{evidence.metric} {mean:+.4f} [{lower:+.4f}, {upper:+.4f}]"
        for name, (mean, lower, upper) in gains.items()
    }
    failed = [name for name, (_, _, upper) in gains.items() if not upper >= 0]
    if failed:
        raise ReleaseRefused(
            f"release {evidence.release_id} {problem}, beyond the interval: "
            f"{'; '.join(f'{name}: {texts[name]}' for name in failed)}; {fix}; "
            "evaluate_release.missing_images sets the shares that are measured"
        )
    return next(iter(texts.values()), None)
