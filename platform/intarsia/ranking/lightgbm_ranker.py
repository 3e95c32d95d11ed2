"""The ranker that serves: LightGBM's trees with the identity of the features they read. How it was fitted is `lambdamart.py`'s matter.

Letters: n rows, F features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.ids import sha256_bytes
from intarsia.lake import write_json
from intarsia.ranking.init_score import PRIOR_FEATURE, Start, prior_scores
from intarsia.ranking.linear import LinearModel, linear_of
from intarsia.records.feature_matrix import FeatureMatrix

MODEL, HEADER = "model.txt", "ranker.json"
_FORMAT = 2
_FORMAT_LINEAR = 3  # with a linear ranker: code that would leave it out refuses the folder


class LightGbmRanker:
    """Scores rows by themselves, on one thread: a row's score has the same bits in any batch.

    Args:
        model_text: LightGBM's text form.
        feature_names: columns in the order of training.
        feature_fingerprint: of the feature set that made the training rows.
        prior_weight: the one the trees were fitted with.
        linear: the one the trees were fitted with.
    """

    def __init__(
        self,
        model_text: str,
        feature_names: Sequence[str],
        feature_fingerprint: str,
        *,
        prior_weight: float = 0.0,
        linear: LinearModel | None = None,
    ) -> None:
        self._start = Start(prior_weight=prior_weight, linear=linear)
        self._booster = lightgbm.Booster(model_str=model_text)
        self._names = tuple(feature_names)
        self._fingerprint = feature_fingerprint
        if tuple(self._booster.feature_name()) != self._names:
            raise ArtifactError(
                f"the model reads features {_brief(self._booster.feature_name())}, its header names {_brief(self._names)}; "
                "run train_ranker again"
            )

    @classmethod
    def open(cls, folder: Path, *, feature_fingerprint: str | None = None) -> LightGbmRanker:
        """A `ranker` artefact; with `feature_fingerprint`, only if it was trained on those features.

        Raises:
            ArtifactError: nothing is there, or the model is not the one the header describes.
            ReleaseMismatch: trained on other features.
        """
        try:
            header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
            text = (folder / MODEL).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename} is missing; run train_ranker") from None
        if header["format"] not in (_FORMAT, _FORMAT_LINEAR):
            raise ArtifactError(
                f"{folder / HEADER} is of format {header['format']}, this code reads {_FORMAT} and {_FORMAT_LINEAR}; "
                "run train_ranker again"
            )
        if sha256_bytes(text.encode()) != header["model_sha256"]:
            raise ArtifactError(f"{folder / MODEL} is not the model that {HEADER} describes; run train_ranker again")
        ranker = cls(
            text,
            header["feature_names"],
            header["feature_fingerprint"],
            prior_weight=header["prior_weight"],
            linear=linear_of(header["linear"]) if header["format"] == _FORMAT_LINEAR else None,
        )
        if feature_fingerprint is not None:
            ranker._check_fingerprint(feature_fingerprint)
        return ranker

    @property
    def feature_fingerprint(self) -> str:
        """The feature set it was trained on."""
        return self._fingerprint

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns it reads, in order."""
        return self._names

    def score(self, features: FeatureMatrix) -> NDArray[np.float32]:
        """float32 [n], higher is better.

        Raises:
            ReleaseMismatch: the matrix is of other features.
        """
        scores_n = self._predict(features)
        if (begin_n := self._start.scores(features.values_nF, self._names)) is not None:
            scores_n += begin_n
        return scores_n.astype(np.float32)

    def contributions(self, features: FeatureMatrix) -> NDArray[np.float64]:
        """float64 [n, F + 1]: TreeSHAP shares, the bias last; a row sums to its score within 1e-6 (of the larger of 1 and the score).

        The prior is part of the fused score's share; what the linear ranker adds, of each feature's.
        Costs some 50 ms for 20 rows: ask for the rows on the page only.

        Raises:
            ReleaseMismatch: the matrix is of other features.
        """
        shares_nF = self._predict(features, pred_contrib=True)
        if (prior_n := prior_scores(features.values_nF, self._names, self._start.prior_weight)) is not None:
            shares_nF[:, self._names.index(PRIOR_FEATURE)] += prior_n
        if self._start.linear is not None:
            shares_nF[:, :-1] += self._start.linear.shares(features.values_nF)
        return shares_nF

    def importances(self) -> dict[str, float]:
        """Each feature's share of the gain of all splits, largest first; they sum to 1. What the trees begin at does not count."""
        gains = self._booster.feature_importance(importance_type="gain")
        gains = gains / max(float(gains.sum()), np.finfo(np.float64).tiny)
        ranked = sorted(zip(self._names, gains.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
        return dict(ranked)

    def _predict(self, features: FeatureMatrix, **options: bool) -> NDArray[np.float64]:
        self._check_fingerprint(features.fingerprint)
        if features.names != self._names:
            raise ReleaseMismatch(
                f"the matrix has features {_brief(features.names)}, the ranker reads {_brief(self._names)}; run train_ranker again"
            )
        if not len(features.values_nF):
            return np.empty((0, len(self._names) + 1) if options else 0)
        return np.asarray(
            self._booster.predict(features.values_nF, raw_score=True, num_threads=1, **options), np.float64
        )

    def _check_fingerprint(self, fingerprint: str) -> None:
        if fingerprint != self._fingerprint:
            raise ReleaseMismatch(
                f"the features are {fingerprint[:12]}, the ranker was trained on {self._fingerprint[:12]}; "
                "run build_training_rows and train_ranker again"
            )


def save_ranker(
    folder: Path,
    model_text: str,
    feature_names: Sequence[str],
    feature_fingerprint: str,
    facts: Mapping[str, Any],
    *,
    prior_weight: float = 0.0,
    linear: LinearModel | None = None,
) -> LightGbmRanker:
    """Write a `ranker` artefact; `facts` (settings, learning curve, …) go into its header for people to read."""
    ranker = LightGbmRanker(model_text, feature_names, feature_fingerprint, prior_weight=prior_weight, linear=linear)
    (folder / MODEL).write_text(model_text, encoding="utf-8")
    header = {
        "format": _FORMAT if linear is None else _FORMAT_LINEAR,
        **({} if linear is None else {"linear": linear.to_jsonable()}),
        "feature_names": list(feature_names),
        "feature_fingerprint": feature_fingerprint,
        "prior_weight": prior_weight,
        "model_sha256": sha256_bytes(model_text.encode()),
        "importances": ranker.importances(),
        **facts,
    }
    write_json(folder / HEADER, header)
    return ranker


def _brief(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}, … ({len(names)})" if len(names) > 3 else ", ".join(names)
