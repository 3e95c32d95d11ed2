"""The model that serves: score = init score + sum of weight * LightGBM trees. `lambdamart.py` fits it.

Letters: n rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.ids import sha256_bytes, sha256_json
from intarsia.lake import read_json_object, write_json
from intarsia.maths.arrays import Float32s, Floats
from intarsia.ranking.linear import InitScore, LinearModel
from intarsia.records.feature_matrix import FeatureMatrix

RANKER_HEADER = "ranker.json"
_MODEL_FILES = ("model.txt", "pointwise.txt")
_FORMAT = 4
_ONE_MODEL_FORMATS = (2, 3)  # one `model.txt` of weight 1; format 2 has no linear model


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedTrees:
    """A LightGBM model in its text form, and the factor of its predictions."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerModel:
    """score = init_score + sum over trees of weight * prediction; each row is scored independently, on one thread."""

    trees: tuple[WeightedTrees, ...]
    init_score: InitScore = InitScore()
    _boosters: tuple[lightgbm.Booster, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        boosters = tuple(lightgbm.Booster(model_str=part.text) for part in self.trees)
        object.__setattr__(self, "_boosters", boosters)

    @property
    def trees_sha256(self) -> str:
        """Digest of all trees and their weights."""
        return sha256_json([[part.text, part.weight] for part in self.trees])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns the trees read, in order."""
        return tuple(self._boosters[0].feature_name())

    @property
    def feature_names_by_model(self) -> list[tuple[str, ...]]:
        """The columns of each LightGBM model; all must be equal."""
        return [tuple(booster.feature_name()) for booster in self._boosters]

    @property
    def num_trees(self) -> int:
        return sum(booster.num_trees() for booster in self._boosters)

    def plus(self, other: RankerModel, weight: float) -> RankerModel:
        """The model that scores `self + weight * other`; both init scores must be multiples of one."""
        scaled = tuple(WeightedTrees(text=part.text, weight=weight * part.weight) for part in other.trees)
        return RankerModel(trees=self.trees + scaled, init_score=self.init_score.plus(other.init_score.times(weight)))

    def scores(self, values_nF: NDArray[np.floating], feature_names: Sequence[str]) -> Floats:
        """float64 [n], higher is better."""
        scores_n = self.init_score.scores(values_nF, feature_names)
        if len(values_nF):
            for part, booster in zip(self.trees, self._boosters, strict=True):
                scores_n = scores_n + part.weight * _predict(booster, values_nF)
        return scores_n

    def contributions(self, values_nF: NDArray[np.floating], feature_names: Sequence[str]) -> Floats:
        """float64 [n, F + 1]: TreeSHAP values plus what each feature adds to the init score, the bias last."""
        parts_nF = np.zeros((len(values_nF), len(feature_names) + 1))
        parts_nF[:, :-1] = self.init_score.contributions(values_nF, feature_names)
        if len(values_nF):
            for part, booster in zip(self.trees, self._boosters, strict=True):
                parts_nF += part.weight * _predict(booster, values_nF, pred_contrib=True)
        return parts_nF

    def importances(self) -> Floats:
        """float64 [F]: each feature's share of the gain of all splits, averaged over the models that have splits.

        The shares sum to 1, or to 0 without splits. Gains of different objectives have different units, hence the
        shares.
        """
        gains = [booster.feature_importance(importance_type="gain") for booster in self._boosters]
        shares = [gain_F / gain_F.sum() for gain_F in gains if gain_F.sum() > 0]
        return np.mean(shares, axis=0) if shares else np.zeros(len(self.feature_names))


class LightGbmRanker:
    """A `RankerModel` with the identity of the features it reads; a `Ranker`.

    Args:
        model: the fitted model.
        feature_names: columns in the order of training.
        feature_fingerprint: fingerprint of the feature set that made the training rows.
    """

    def __init__(self, model: RankerModel, feature_names: Sequence[str], feature_fingerprint: str) -> None:
        self._model = model
        self._names = tuple(feature_names)
        self._fingerprint = feature_fingerprint
        if other := next((names for names in model.feature_names_by_model if names != self._names), None):
            raise ArtifactError(
                f"the model reads features {_brief(other)}, its header names {_brief(self._names)}. "
                "Fix: run train_ranker again"
            )

    @classmethod
    def open(cls, folder: Path, *, feature_fingerprint: str | None = None) -> LightGbmRanker:
        """Read a `ranker` artefact; `feature_fingerprint` is the feature set it must have been trained on.

        Raises:
            ArtifactError: a file is missing, or a model file does not match the header.
            ReleaseMismatch: it was trained on other features.
        """
        try:
            header = read_json_object(folder / RANKER_HEADER, ("format",), fix="run train_ranker again")
            model = _read_model(folder, header)
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename} is missing. Fix: run train_ranker") from None
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{folder / RANKER_HEADER} is damaged: {error}. Fix: run train_ranker again") from None
        ranker = cls(model, header["feature_names"], header["feature_fingerprint"])
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

    def score(self, features: FeatureMatrix) -> Float32s:
        """float32 [n], higher is better.

        Raises:
            ReleaseMismatch: the matrix has other features.
        """
        self._check(features)
        return self._model.scores(features.values_nF, self._names).astype(np.float32)

    def contributions(self, features: FeatureMatrix) -> Floats:
        """float64 [n, F + 1]: each feature's share of the score, the bias last.

        A row sums to its score within 1e-6 times max(1, |score|). This costs about 50 ms for 20 rows: pass only the
        rows of the page.

        Raises:
            ReleaseMismatch: the matrix has other features.
        """
        self._check(features)
        return self._model.contributions(features.values_nF, self._names)

    def importances(self) -> dict[str, float]:
        """Each feature's share of the gain of all splits, largest first; see `RankerModel.importances`."""
        shares = zip(self._names, self._model.importances().tolist(), strict=True)
        return dict(sorted(shares, key=lambda pair: (-pair[1], pair[0])))

    def _check(self, features: FeatureMatrix) -> None:
        self._check_fingerprint(features.fingerprint)
        if features.names != self._names:
            raise ReleaseMismatch(
                f"the matrix has features {_brief(features.names)}, the ranker reads {_brief(self._names)}. "
                "Fix: run train_ranker again"
            )

    def _check_fingerprint(self, fingerprint: str) -> None:
        if fingerprint != self._fingerprint:
            raise ReleaseMismatch(
                f"the features are {fingerprint[:12]}, the ranker was trained on {self._fingerprint[:12]}. "
                "Fix: run build_training_rows and train_ranker again"
            )


def save_ranker(
    folder: Path, model: RankerModel, feature_names: Sequence[str], feature_fingerprint: str, facts: Mapping[str, Any]
) -> LightGbmRanker:
    """Write a `ranker` artefact; `facts` (settings, learning curve, …) are added to its header."""
    ranker = LightGbmRanker(model, feature_names, feature_fingerprint)
    files = []
    for name, part in zip(_MODEL_FILES, model.trees, strict=False):
        (folder / name).write_text(part.text, encoding="utf-8")
        files.append({"file": name, "weight": part.weight, "sha256": sha256_bytes(part.text.encode())})
    assert len(files) == len(model.trees), "at most two models"
    header = {
        "format": _FORMAT,
        "models": files,
        "prior_weight": model.init_score.prior_weight,
        "linear": model.init_score.linear and model.init_score.linear.to_jsonable(),
        "feature_names": list(feature_names),
        "feature_fingerprint": feature_fingerprint,
        "importances": ranker.importances(),
        **facts,
    }
    write_json(folder / RANKER_HEADER, header)
    return ranker


def _read_model(folder: Path, header: Mapping[str, Any]) -> RankerModel:
    if header["format"] == _FORMAT:
        files = header["models"]
    elif header["format"] in _ONE_MODEL_FORMATS:
        files = [{"file": _MODEL_FILES[0], "weight": 1.0, "sha256": header["model_sha256"]}]
    else:
        readable = ", ".join(map(str, (*_ONE_MODEL_FORMATS, _FORMAT)))
        raise ArtifactError(
            f"{folder / RANKER_HEADER} has format {header['format']}, this version reads {readable}. "
            "Fix: run train_ranker again"
        )
    linear = header.get("linear")
    init_score = InitScore(
        prior_weight=header["prior_weight"], linear=None if linear is None else LinearModel.from_jsonable(linear)
    )
    trees = tuple(WeightedTrees(text=_read_text(folder, file), weight=file["weight"]) for file in files)
    return RankerModel(trees=trees, init_score=init_score)


def _read_text(folder: Path, file: Mapping[str, Any]) -> str:
    path = folder / str(file["file"])
    content = path.read_bytes()
    if sha256_bytes(content) != file["sha256"]:
        raise ArtifactError(f"{path} is not the model that {RANKER_HEADER} describes. Fix: run train_ranker again")
    return content.decode()


def _predict(booster: lightgbm.Booster, values_nF: NDArray[np.floating], **options: bool) -> Floats:
    return np.asarray(booster.predict(values_nF, raw_score=True, num_threads=1, **options), np.float64)


def _brief(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}, … ({len(names)})" if len(names) > 3 else ", ".join(names)
