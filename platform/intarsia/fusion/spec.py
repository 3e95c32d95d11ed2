"""Which fusion, with which numbers: the one description that search_fusion finds, a release carries and a fuser is opened from."""

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

FusionKind = Literal["rrf", "convex", "equal", "comb_sum", "comb_mnz"]
NormaliserName = Literal["min_max", "theoretical_min_max", "z", "atan", "quantile"]
QueryKind = Literal["text", "image", "both"]
QUERY_KINDS: tuple[QueryKind, ...] = ("text", "image", "both")

FILE = "fusion.json"


_PAPER_K = 60.0  # Cormack, Clarke and Büttcher, SIGIR 2009
_LOWEST_COSINE = -1.0


def _default_lowest_scores() -> dict[str, float]:
    return {"bm25": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSpec:
    """A fusion kind and its parameters.

    A retriever of weight 0 is absent: it neither scores a candidate nor keeps one. The one exception: a query that only retrievers of
    weight 0 can answer (a picture, where pictures weigh nothing) is answered by them, all equal, rather than by an empty page.
    """

    kind: FusionKind = setting(
        "rrf: by ranks; convex: weighted average of normalised scores; equal: convex, equal weights; comb_sum: weighted sum over who "
        "returned the candidate; comb_mnz: that times how many did"
    )
    normaliser: NormaliserName = setting("how scores become comparable; does nothing for rrf", "min_max")
    missing: Literal["lowest", "mean", "renormalise"] = setting(
        "a candidate that a retriever cannot score gets that query's mean normalised value there (`mean`) or its lowest (`lowest`, which "
        "hides products without a picture), or is judged by the others alone (`renormalise`, which favours them: an average over fewer "
        "opinions is more extreme). For convex and equal only.",
        "mean",
    )
    weights: Mapping[str, float] = setting(
        "by retriever, 0 or more; none given means all equal; must be empty for kind equal", factory=dict
    )
    weights_by_kind: Mapping[QueryKind, Mapping[str, float]] = setting(
        "instead of `weights` for queries that give words only (text), a picture only (image), or both", factory=dict
    )
    rrf_k: float = setting("damping of reciprocal ranks, above 0; larger flattens the top; for rrf alone", _PAPER_K)
    depth: int = setting("ranks beyond it count as not returned; a candidate nobody returned is dropped", 1000)
    lowest_scores: Mapping[str, float] = setting(
        "the lowest score a retriever can give, for theoretical_min_max; -1 (cosine) where not named",
        factory=_default_lowest_scores,
    )

    def __post_init__(self) -> None:
        if self.kind == "equal" and (self.weights or self.weights_by_kind):
            raise ValueError("kind equal takes no weights; leave them out, or choose convex")
        _check_weights("all", self.weights)
        for kind, weights in self.weights_by_kind.items():
            if kind not in QUERY_KINDS:
                raise ValueError(f"weights_by_kind has {kind!r}; allowed: {', '.join(QUERY_KINDS)}")
            _check_weights(kind, weights)
            if set(weights) != set(self.weights):
                raise ValueError(f"weights for {kind} name {sorted(weights)}, weights for all {sorted(self.weights)}")
        if not (math.isfinite(self.rrf_k) and self.rrf_k > 0):
            raise ValueError(f"rrf_k is {self.rrf_k}; allowed: above 0")
        if self.depth < 1:
            raise ValueError(f"depth is {self.depth}; allowed: 1 or more")

    def lowest_score(self, retriever: str) -> float:
        """The lowest score the retriever can give; NaN for `joint`, whose scores know no lowest."""
        return self.lowest_scores.get(retriever, math.nan if retriever == "joint" else _LOWEST_COSINE)

    def save(self, folder: Path) -> None:
        """Write the spec as `fusion.json`, all of it or nothing."""
        write_json(folder / FILE, to_jsonable(self))

    @classmethod
    def open(cls, folder: Path) -> FusionSpec:
        """The spec that was saved in a folder.

        Raises:
            ArtifactError: there is none, or it is not JSON, or it holds unknown fields or values that a spec refuses.
        """
        path = folder / FILE
        try:
            return build(cls, json.loads(path.read_text(encoding="utf-8")), where="fusion")
        except FileNotFoundError:
            raise ArtifactError(f"{path} does not exist; run search_fusion") from None
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ConfigError) as error:
            raise ArtifactError(f"{path} is not a fusion spec: {error}; run search_fusion again") from None


def _check_weights(kind: str, weights: Mapping[str, float]) -> None:
    for retriever, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight of {retriever} ({kind}) is {weight}; allowed: 0 or more")
    if weights and not any(weights.values()):
        raise ValueError(f"all weights ({kind}) are 0; allowed: at least one above 0")
