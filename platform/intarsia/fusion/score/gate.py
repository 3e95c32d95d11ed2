"""The gate: weights of the retrievers for each query, from how sure each one is; the common weights where the prediction is unsure.

w(q) = t w* + V x(q), at least 0, divided by its sum: w* are the common weights, x(q) the query's facts, standardised. Several V are fitted,
each on queries drawn with replacement. A query gets its own weights when these fits agree on how it differs, and its facts are within what
train queries had; how much they must agree is chosen by cross-validation on train, and "they never do" is among the choices.

Letters: n candidates of all queries, G queries, R retrievers, F facts, B fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intarsia.config import build, check_range, setting, to_jsonable
from intarsia.errors import ArtifactError, ConfigError
from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.fuser import FusedBatch, fuse_one, fuse_weighted, query_weights
from intarsia.fusion.method import read_config, write_header
from intarsia.fusion.protocol import ProductVectors
from intarsia.fusion.score.candidate_features import with_columns
from intarsia.fusion.score.query_performance import fact_names, query_facts
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.spec import FILE, FusionSpec
from intarsia.maths.arrays import Floats
from intarsia.records.candidates import Candidates

_LEAST_WEIGHT = 1e-6  # a gated query keeps the candidates of all retrievers


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """How the gate is fitted, and how sure it must be."""

    kind: Literal["gate"] = setting("this kind", "gate")
    common: WeightedConfig = setting("how the common weights are found", factory=WeightedConfig)
    num_fits: int = setting("fits whose agreement says how sure the gate is", 8)
    penalties: tuple[float, ...] = setting("tried: L2 on what facts change, above 0", (0.01, 0.1))
    agreements: tuple[float, ...] = setting(
        "tried: how many times the spread of the fits a query's difference must be for weights of its own",
        (0.5, 1.0, 2.0),
    )
    num_folds: int = setting("folds of the train queries for the choice of both", 5)
    list_length: int = setting("best candidates of a query, by the common weights, that the fits read", 100)

    def __post_init__(self) -> None:
        check_range(self, "num_fits", "num_folds", "list_length", low=2)
        for name in ("penalties", "agreements"):
            values = getattr(self, name)
            if not values or not min(values) > 0:
                raise ValueError(f"{name} are {values}; allowed: one or more, all above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What was fitted.

    Attributes:
        mean_F, scale_F: of the facts of train queries; a fact that never varied has scale 0 and is not read.
        low_F, high_F: the range they had.
        slopes_BRF: V of each fit. temper_B: t of each fit.
    """

    mean_F: Floats
    scale_F: Floats
    low_F: Floats
    high_F: Floats
    slopes_BRF: Floats
    temper_B: Floats

    def weights(self, facts_GF: Floats, common_R: Floats) -> tuple[Floats, Floats]:
        """Predicted weights float64 [R, G] (each query's sum to 1), and how sure each is, float64 [G].

        Sureness is the length of the mean difference to the common weights by the spread of the fits' differences; 0 for a query with a
        fact outside the range that train queries had.
        """
        standard_GF = self.standardise(facts_GF)
        each_BRG = np.array(
            [
                _predict(temper, slopes_RF, standard_GF, common_R)
                for temper, slopes_RF in zip(self.temper_B, self.slopes_BRF, strict=True)
            ]
        )
        each_BRG -= common_R[:, None]
        # sums of rows, not .sum(axis=…): the order of additions, so every bit, is the same for any batch
        mean_RG = sum(each_BRG) / len(each_BRG)
        spread_G = np.sqrt(sum(sum((one - mean_RG) ** 2) for one in each_BRG) / len(each_BRG))
        length_G = np.sqrt(sum(mean_RG**2))
        sure_G = np.divide(length_G, spread_G, out=np.zeros(len(length_G)), where=spread_G > 0)
        known_GF = np.isnan(facts_GF) | ((facts_GF >= self.low_F) & (facts_GF <= self.high_F))
        return common_R[:, None] + mean_RG, np.where(known_GF.all(axis=1), sure_G, 0.0)

    def standardise(self, facts_GF: Floats) -> Floats:
        """Facts with mean 0 and deviation 1 over the train queries; 0 where one is not known, or never varied."""
        away_GF = np.nan_to_num(facts_GF - self.mean_F)
        return np.divide(away_GF, self.scale_F, out=np.zeros_like(away_GF), where=self.scale_F > 0)


def _predict(temper: float, slopes_RF: Floats, standard_GF: Floats, common_R: Floats) -> Floats:
    weights_RG = np.repeat(temper * common_R[:, None], len(standard_GF), axis=1)
    for slopes_R, standard_G in zip(slopes_RF.T, standard_GF.T, strict=True):  # not @: its bits hang on the batch
        weights_RG += slopes_R[:, None] * standard_G
    weights_RG = np.maximum(weights_RG, _LEAST_WEIGHT)
    return weights_RG / sum(weights_RG)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedFuser:
    """The convex fusion of `spec`, with weights of their own for the queries that `gate` is sure of.

    Attributes:
        spec: common weights, normaliser and depth.
        gate: what predicts weights; None when no agreement gained anything on train, and every query has the common weights.
        agreement: sureness from which a query gets weights of its own.
    """

    config: GateConfig
    spec: FusionSpec
    gate: Gate | None
    agreement: float

    @property
    def retrievers(self) -> tuple[str, ...]:
        """Whose scores it reads, in the order of the fit."""
        return tuple(self.spec.weights)

    @property
    def common_R(self) -> Floats:
        """The common weights, which sum to 1."""
        return common_weights(self.spec)

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> GatedFuser:
        """What `save` wrote.

        Raises:
            ArtifactError: it is missing or torn.
        """
        config, header = read_config(GateConfig, folder)
        try:
            spec = build(FusionSpec, header["spec"], where="spec")
            fitted = header["gate"]
            gate = fitted and Gate(**{name: np.array(values, np.float64) for name, values in fitted.items()})
            num = len(spec.weights), len(fact_names(tuple(spec.weights)))
            if gate and gate.slopes_BRF.shape[1:] != num:
                raise ValueError(
                    f"the gate has slopes {gate.slopes_BRF.shape[1:]}, and there are {num} weights and facts"
                )
            return cls(config=config, spec=spec, gate=gate, agreement=float(header["agreement"]))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ArtifactError(f"{folder / FILE} is not a gate: {error!r}; run search_fusion again") from None

    def fuse(self, candidates: Candidates) -> Candidates:
        """One query, see `Fuser.fuse`."""
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Many queries at once.

        Raises:
            ReleaseMismatch: a retriever that the gate does not know.
        """
        within = with_columns(batch, self.retrievers).cut(self.spec.depth)
        weights_RG = query_weights(self.spec, within)
        own_G, own_RG = self.own_weights(within)
        return fuse_weighted(self.spec, within, np.where(own_G, own_RG, weights_RG))

    def own_weights(self, within: CandidateBatch) -> tuple[NDArray[np.bool_], Floats]:
        """Which queries get weights of their own, bool [G], and the predicted ones, [R, G]."""
        if self.gate is None:
            return np.zeros(within.groups.num_groups, bool), np.zeros((len(self.retrievers), within.groups.num_groups))
        weights_RG, sure_G = self.gate.weights(query_facts(within), self.common_R)
        return sure_G >= self.agreement, weights_RG

    def save(self, folder: Path) -> None:
        """Write settings, common weights and gate."""
        gate = self.gate and {name: getattr(self.gate, name).tolist() for name in self.gate.__slots__}
        write_header(folder, self.config, {"spec": to_jsonable(self.spec), "gate": gate, "agreement": self.agreement})


def common_weights(spec: FusionSpec) -> Floats:
    """The weights of a spec, divided by their sum: float64 [R]."""
    weights_R = np.array(list(spec.weights.values()), np.float64)
    common_R: Floats = weights_R / weights_R.sum()
    return common_R
