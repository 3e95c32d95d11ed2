"""`FusionSpec`: a fusion method without fitted parts, and its parameters. `search_fusion` writes it to the lake."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from intarsia.config import build, setting, to_jsonable
from intarsia.errors import ArtifactError, ConfigError
from intarsia.lake import write_json
from intarsia.records.judgment import QueryKind

SpecMethodName = Literal["rrf", "convex", "equal", "comb_sum", "comb_mnz"]
NormaliserName = Literal["min_max", "theoretical_min_max", "z", "atan", "quantile"]
QUERY_KINDS: tuple[QueryKind, ...] = ("text", "image", "both")

FUSION_FILE = "fusion.json"
"""The file that every saved fuser has, whatever its method."""

_PAPER_K = 60.0  # Cormack, Clarke and Büttcher, SIGIR 2009
_LOWEST_COSINE = -1.0


def _default_lowest_scores() -> dict[str, float]:
    return {"bm25": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSpec:
    """A fusion method without fitted parts, and its parameters.

    A retriever of weight 0 is ignored: it scores no candidate and keeps none. One exception: if only retrievers of
    weight 0 returned anything for a query (an image query, where images weigh 0), these retrievers all weigh 1, so that
    the page is not empty.

    >>> FusionSpec(kind="convex", weights={"bm25": 0.4, "text": 0.6}).normaliser
    'min_max'
    """

    kind: SpecMethodName = setting(
        "rrf: reciprocal ranks; convex: weighted mean of normalised scores; equal: convex with equal weights; "
        "comb_sum: weighted sum over the retrievers that returned the candidate; comb_mnz: comb_sum times their number"
    )
    normaliser: NormaliserName = setting("how scores are brought to one scale; not used by rrf", "min_max")
    missing: Literal["lowest", "mean", "renormalise"] = setting(
        "the score of a candidate that a retriever cannot score. mean: the query's mean normalised score; lowest: the "
        "query's lowest, which ranks products without an image low; renormalise: leave the retriever out, which ranks "
        "them high, since a mean of fewer scores is more extreme. For convex and equal only",
        "mean",
        advanced=True,
    )
    weights: Mapping[str, float] = setting(
        "weight of each retriever, 0 or more; default: all equal; must be empty for kind equal", factory=dict
    )
    weights_by_kind: Mapping[QueryKind, Mapping[str, float]] = setting(
        "used instead of `weights` for queries with text only (text), with an image only (image), or with both (both)",
        factory=dict,
        advanced=True,
    )
    rrf_k: float = setting(
        "damping of reciprocal ranks, above 0; a larger value makes the first ranks more alike; for rrf only",
        _PAPER_K,
        advanced=True,
    )
    depth: int = setting(
        "ranks below this depth count as not returned; a candidate that no retriever returned is dropped",
        1000,
        advanced=True,
    )
    lowest_scores: Mapping[str, float] = setting(
        "the lowest score that each retriever can give, for theoretical_min_max; -1 (cosine) where not given",
        factory=_default_lowest_scores,
        advanced=True,
    )

    def __post_init__(self) -> None:
        if self.kind == "equal" and (self.weights or self.weights_by_kind):
            raise ValueError("kind equal takes no weights; leave them out, or choose convex")
        _check_weights("all", self.weights)
        for query_kind, weights in self.weights_by_kind.items():
            if query_kind not in QUERY_KINDS:
                raise ValueError(f"weights_by_kind has {query_kind!r}; allowed: {', '.join(QUERY_KINDS)}")
            _check_weights(query_kind, weights)
            if set(weights) != set(self.weights):
                raise ValueError(
                    f"weights for {query_kind} name {sorted(weights)}, weights for all {sorted(self.weights)}"
                )
        if not (math.isfinite(self.rrf_k) and self.rrf_k > 0):
            raise ValueError(f"rrf_k is {self.rrf_k}; allowed: above 0")
        if self.depth < 1:
            raise ValueError(f"depth is {self.depth}; allowed: 1 or more")

    def lowest_score(self, retriever: str) -> float:
        """Return the lowest score the retriever can give; NaN for `joint`, whose scores have no lower bound."""
        return self.lowest_scores.get(retriever, math.nan if retriever == "joint" else _LOWEST_COSINE)

    def save(self, folder: Path) -> None:
        """Write `fusion.json` atomically."""
        write_json(folder / FUSION_FILE, to_jsonable(self))

    @classmethod
    def open(cls, folder: Path) -> FusionSpec:
        """Read the spec that was saved in a folder.

        Raises:
            ArtifactError: the file is missing, is not JSON, or has unknown fields or values out of range.
        """
        path = folder / FUSION_FILE
        try:
            return build(cls, json.loads(path.read_text(encoding="utf-8")), where="fusion")
        except FileNotFoundError:
            raise ArtifactError(f"{path} does not exist. Fix: run search_fusion") from None
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ConfigError) as error:
            raise ArtifactError(f"{path} is not a fusion spec: {error}. Fix: run search_fusion again") from None


def _check_weights(query_kind: str, weights: Mapping[str, float]) -> None:
    for retriever, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight of {retriever} ({query_kind}) is {weight}; allowed: 0 or more")
    if weights and not any(weights.values()):
        raise ValueError(f"all weights ({query_kind}) are 0; allowed: at least one above 0")
