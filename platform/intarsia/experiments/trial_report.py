"""What the search of a release's fusion tried, as its report tells it: read from the table that `search_fusion` wrote beside the fusion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.evaluation.report import FusionTrial
from intarsia.experiments.fusion_search_result import SHRINKAGE, TRIALS_FILE, describe_settings
from intarsia.fusion.fuser import SPEC_METHODS


def read_search(fusion_spec: Path) -> Mapping[str, Any]:
    """The `FusionSearch` of a fusion, as plain values."""
    found: Mapping[str, Any] = json.loads((fusion_spec / TRIALS_FILE).read_text(encoding="utf-8"))
    return found


def trials_of(search: Mapping[str, Any]) -> tuple[FusionTrial, ...]:
    """Every trial in the order they were chosen, also those that were stopped or failed."""
    return tuple(
        FusionTrial(
            number=number,
            kind=one["spec"]["kind"] if one["spec"] else "",
            settings=describe_settings(one["spec"]) if one["spec"] else "",
            score=one["train"],
            stopped=one.get("stopped", False),
            error=one["error"] or "",
        )
        for number, one in enumerate(search["trials"])
    )


def how_chosen(search: Mapping[str, Any]) -> str:
    """Which fusion serves and by what it was chosen, in one or two sentences; nothing where the table names none."""
    chosen = search.get("chosen")
    if chosen is None:
        return ""
    said = f"Chosen: {chosen['name']} ({chosen['spec']['kind']})"
    if chosen["name"].endswith(SHRINKAGE):
        return (
            f"{said}. Nobody judged any query, and made ones flatter bm25: it is the best on the made validation queries, its weights "
            "moved towards equal as far as search_fusion.synthetic_may_be_dropped allows."
        )
    of_plain = "best on the validation queries among equal weights, RRF and the best trials without fitted parts"
    if chosen["spec"]["kind"] in SPEC_METHODS:
        beaten = "; no fitted kind was better on the train queries it had not seen"
        return f"{said}, {of_plain}{beaten if any(map(_is_fitted, search['trials'])) else ''}."
    plain_ones = [one for one in (*search["baselines"], *search["finalists"]) if _is_plain(one)]
    best = max(plain_ones, key=lambda one: one["validation"]["mean"])  # of equals the first, as the search chooses
    return (
        f"{said}. It is fitted, and validation queries stop its fit, so the train queries chose it: there it has {chosen['train']:.3f}, "
        f"each query measured by a fit that did not see it, against {best['train']:.3f} of {best['name']} ({best['spec']['kind']}), "
        f"{of_plain}."
    )


def _is_fitted(one: Mapping[str, Any]) -> bool:
    return one["spec"] is not None and not _is_plain(one) and one["train"] is not None


def _is_plain(one: Mapping[str, Any]) -> bool:
    return one["spec"] is not None and one["spec"]["kind"] in SPEC_METHODS
