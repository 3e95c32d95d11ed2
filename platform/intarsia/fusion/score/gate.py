"""Gated fusion: a convex fusion with weights predicted per query; where uncertain, with the common weights.

The weights of query q are w(q) = t w + V x(q), cut at 0 and divided by their sum. w are the common weights, found by
`weighted.py`. x(q) are standardised query performance predictors: statistics of the candidates' scores and ranks. The
scale t and the slopes V are fitted several times, each time on a bootstrap sample of the train queries.

The confidence of a prediction is the length of the mean difference to the common weights, divided by the standard
deviation of that difference over the fits; it is 0 if a predictor lies outside the range of the train queries. A query
whose confidence is below a threshold keeps the common weights. Cross-validation on train chooses the threshold. If no
threshold raises nDCG, there is no gate.

The file in order: configuration, predictors, the fitted gate, the fuser, and the fit.

Shapes: n candidates of all queries, G queries, R retrievers, F predictors, B fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intarsia.config import build, check_range, setting, to_jsonable
from intarsia.errors import ArtifactError, ConfigError
from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.fuser import FusedBatch, fuse_batch, fuse_one, fuse_with_weights, query_weights
from intarsia.fusion.method import read_config, write_fusion_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.column_weights import fit_listwise
from intarsia.fusion.score.convex import normalised_scores
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.score.weighted import WeightedConfig, fit_weighted
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.fusion.training_data import PackedTrainingData, check_training_data
from intarsia.ids import fold_of
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups
from intarsia.records.candidates import Candidates

_MIN_WEIGHT = 1e-6  # above 0, so that a query with predicted weights keeps the candidates of all retrievers
_TOP = 10  # ranks that the predictor `overlap` compares
_PREDICTORS = ("scores_any", "best", "peak", "overlap")
_MIN_QUERIES_PER_FOLD = 4  # with fewer, a gain of the gate cannot be distinguished from chance


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """How the gate is fitted, and which confidence thresholds are tried."""

    kind: Literal["gate"] = setting("the fusion method", "gate")
    common: WeightedConfig = setting("how the common weights are found", factory=WeightedConfig, advanced=True)
    num_fits: int = setting("fits on bootstrap samples, from which the confidence is computed", 8, advanced=True)
    penalties: tuple[float, ...] = setting(
        "tried: L2 penalty on the slopes of the predictors, above 0", (0.01, 0.1), advanced=True
    )
    agreements: tuple[float, ...] = setting(
        "tried: the confidence from which a query gets predicted weights", (0.5, 1.0, 2.0), advanced=True
    )
    num_folds: int = setting("folds of the train queries for the choice of penalty and threshold", 5, advanced=True)
    list_length: int = setting(
        "number of candidates per query, the best by the common weights, that the fits read", 100, advanced=True
    )

    def __post_init__(self) -> None:
        check_range(self, "num_fits", "num_folds", "list_length", low=2)
        for name in ("penalties", "agreements"):
            values = getattr(self, name)
            if not values or not min(values) > 0:
                raise ValueError(f"{name} are {values}; allowed: one or more, all above 0")


def predictor_names(retrievers: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of `query_predictors`."""
    return tuple(f"{name}_{predictor}" for predictor in _PREDICTORS for name in retrievers)


def query_predictors(batch: CandidateBatch) -> Floats:
    """Compute the query performance predictors, float64 [G, F]: four per retriever.

    All but the first are NaN if the retriever scores nothing.

    - scores_any: 1 if the retriever scores some candidate, 0 if not (the query lacks the part it reads, or it is down);
    - best: its best score;
    - peak: its best score as 0.5 + z / 6, z being the distance to its mean score in standard deviations;
    - overlap: share of its first ten candidates that another retriever also has among its first ten.
    """
    groups, top_Rn = batch.groups, (batch.ranks_Rn > 0) & (batch.ranks_Rn <= _TOP)
    scores_any_RG = groups.any(np.isfinite(batch.scores_Rn))
    z_Rn = NORMALISERS["z"](batch.scores_Rn, groups, np.zeros(len(batch.retrievers)))
    shared_Rn = top_Rn & (top_Rn.sum(axis=0) > 1)
    num_top_RG, num_shared_RG = groups.total(top_Rn.astype(np.float64)), groups.total(shared_Rn.astype(np.float64))
    overlap_RG = np.divide(num_shared_RG, num_top_RG, out=np.full(num_top_RG.shape, np.nan), where=num_top_RG > 0)
    columns = (scores_any_RG.astype(np.float64), groups.largest(batch.scores_Rn), groups.largest(z_Rn), overlap_RG)
    return np.concatenate(columns).T.copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The fitted parameters.

    Attributes:
        mean_F, scale_F: mean and standard deviation of each predictor over the train queries; scale 0 means that it
            does not vary and is not read.
        low_F, high_F: the range of each predictor over the train queries.
        slopes_BRF: V of each fit.
        temperature_scale_B: t of each fit.
    """

    mean_F: Floats
    scale_F: Floats
    low_F: Floats
    high_F: Floats
    slopes_BRF: Floats
    temperature_scale_B: Floats

    def predict(self, predictors_GF: Floats, common_R: Floats) -> tuple[Floats, Floats]:
        """Predict the weights of each query.

        Returns:
            Weights float64 [R, G], each query's sum to 1, and the confidence of each query, float64 [G].
        """
        standard_GF = self.standardise(predictors_GF)
        differences_BRG = np.array(
            [
                _predict_weights(scale, slopes_RF, standard_GF, common_R)
                for scale, slopes_RF in zip(self.temperature_scale_B, self.slopes_BRF, strict=True)
            ]
        )
        differences_BRG -= common_R[:, None]
        # sums of rows, not .sum(axis=…): the order of the additions, and so every bit, must not depend on the batch
        mean_RG = sum(differences_BRG) / len(differences_BRG)
        std_G = np.sqrt(
            sum(sum((difference_RG - mean_RG) ** 2) for difference_RG in differences_BRG) / len(differences_BRG)
        )
        length_G = np.sqrt(sum(mean_RG**2))
        confidence_G = np.divide(length_G, std_G, out=np.zeros(len(length_G)), where=std_G > 0)
        in_range_GF = np.isnan(predictors_GF) | ((predictors_GF >= self.low_F) & (predictors_GF <= self.high_F))
        return common_R[:, None] + mean_RG, np.where(in_range_GF.all(axis=1), confidence_G, 0.0)

    def standardise(self, predictors_GF: Floats) -> Floats:
        """Scale predictors to mean 0 and standard deviation 1 on train; 0 where NaN, or where one does not vary."""
        centred_GF = np.nan_to_num(predictors_GF - self.mean_F)
        return np.divide(centred_GF, self.scale_F, out=np.zeros_like(centred_GF), where=self.scale_F > 0)


def _predict_weights(scale: float, slopes_RF: Floats, standard_GF: Floats, common_R: Floats) -> Floats:
    weights_RG = np.repeat(scale * common_R[:, None], len(standard_GF), axis=1)
    for slopes_R, standard_G in zip(slopes_RF.T, standard_GF.T, strict=True):  # not @: its bits depend on the batch
        weights_RG += slopes_R[:, None] * standard_G
    weights_RG = np.maximum(weights_RG, _MIN_WEIGHT)
    return weights_RG / sum(weights_RG)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedFuser:
    """The convex fusion of `spec`, with predicted weights for the queries whose confidence reaches the threshold.

    Attributes:
        config: the settings of the fit.
        spec: common weights, normaliser and depth.
        gate: predicts weights; None if no threshold improved nDCG on train, and then every query has the common
            weights.
        agreement: the confidence threshold.
    """

    config: GateConfig
    spec: FusionSpec
    gate: Gate | None
    agreement: float

    @property
    def retrievers(self) -> tuple[str, ...]:
        """The retrievers whose scores it reads, in the order of the fit."""
        return tuple(self.spec.weights)

    @property
    def common_R(self) -> Floats:
        """The common weights, which sum to 1."""
        return _common_weights(self.spec)

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> GatedFuser:
        """Open a saved fuser.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        config, header = read_config(GateConfig, folder)
        try:
            spec = build(FusionSpec, header["spec"], where="spec")
            parameters = header["gate"]
            gate = parameters and Gate(**{name: np.array(values, np.float64) for name, values in parameters.items()})
            expected = len(spec.weights), len(predictor_names(tuple(spec.weights)))
            if gate and gate.slopes_BRF.shape[1:] != expected:
                raise ValueError(
                    f"the gate has slopes {gate.slopes_BRF.shape[1:]}; allowed: (weights, predictors), {expected}"
                )
            return cls(config=config, spec=spec, gate=gate, agreement=float(header["agreement"]))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ArtifactError(
                f"{folder / FUSION_FILE} is not a gate: {error!r}. Fix: run search_fusion again"
            ) from None

    def fuse(self, candidates: Candidates) -> Candidates:
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Fuse many queries at once.

        Raises:
            ReleaseMismatch: a retriever was not part of the fit.
        """
        within = batch.with_retrievers(self.retrievers).cut(self.spec.depth)
        common_RG = query_weights(self.spec, within)
        is_confident_G, predicted_RG = self.predicted_weights(within)
        return fuse_with_weights(self.spec, within, np.where(is_confident_G, predicted_RG, common_RG))

    def predicted_weights(self, within: CandidateBatch) -> tuple[NDArray[np.bool_], Floats]:
        """Return which queries get predicted weights, bool [G], and these weights, [R, G]."""
        if self.gate is None:
            return np.zeros(within.groups.num_groups, bool), np.zeros((len(self.retrievers), within.groups.num_groups))
        weights_RG, confidence_G = self.gate.predict(query_predictors(within), self.common_R)
        return confidence_G >= self.agreement, weights_RG

    def save(self, folder: Path) -> None:
        gate = self.gate and {name: getattr(self.gate, name).tolist() for name in self.gate.__slots__}
        write_fusion_header(
            folder, self.config, {"spec": to_jsonable(self.spec), "gate": gate, "agreement": self.agreement}
        )


def fit_gate(config: GateConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> GatedFuser:
    """Fit the common weights, then the gate.

    The gate is left out if no penalty and threshold gains more than one standard error of nDCG out of fold, or if there
    are fewer than four train queries per fold.

    Args:
        config: settings.
        train: everything is fitted on these queries; penalty and threshold are chosen out of fold.
        validation: used for the common weights only.
        seed: of the bootstrap samples.

    Raises:
        DataError: no candidate of a train query is relevant.

    Source: a mixture whose gate reads the input: Jacobs, Jordan, Nowlan and Hinton, Neural Computation 1991,
    doi:10.1162/neco.1991.3.1.79; per-query weights from score statistics after Bruch, Gai and Ingber, TOIS 2023; the
    rule of one standard error: Breiman et al., 1984.
    """
    check_training_data("train", train)
    spec = fit_weighted(config.common, train, validation, seed).spec
    ungated = GatedFuser(config=config, spec=spec, gate=None, agreement=0.0)
    if len(train.query_ids) < _MIN_QUERIES_PER_FOLD * config.num_folds:
        return ungated
    packed = PackedTrainingData.of(train)
    within = packed.batch.cut(spec.depth)
    lists = _training_lists(config, spec, packed, within)
    common_R = _common_weights(spec)
    common_ndcg_G = packed.ndcg_G(fuse_batch(spec, packed.batch), config.common.k)
    best_gain, chosen = 0.0, None
    for penalty in config.penalties:
        weights_RG, confidence_G = _out_of_fold_weights(config, penalty, spec, train.query_ids, lists, seed)
        for agreement in config.agreements:
            gated_RG = np.where(confidence_G >= agreement, weights_RG, common_R[:, None])
            gated_ndcg_G = packed.ndcg_G(fuse_with_weights(spec, within, gated_RG), config.common.k)
            gain, error = _mean_and_standard_error(gated_ndcg_G - common_ndcg_G)
            if gain > max(best_gain, error):
                best_gain, chosen = gain, (penalty, agreement)
    if chosen is None:
        return ungated
    gate = _fit_parameters(config, chosen[0], spec, lists, np.random.default_rng(seed))
    return GatedFuser(config=config, spec=spec, gate=gate, agreement=chosen[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrainingLists:
    """The best candidates of each query under the common weights: the input of the fits."""

    groups: Groups
    normal_Rn: Floats
    gains_n: Floats
    predictors_GF: Floats

    def select(self, at_G: NDArray[np.int64]) -> _TrainingLists:
        """Select queries by position; a position may be repeated."""
        spans = [np.arange(self.groups.offsets[g], self.groups.offsets[g + 1]) for g in at_G]
        at_n = np.concatenate([np.empty(0, np.int64), *spans])
        return _TrainingLists(
            groups=Groups(np.cumsum([0, *(len(span) for span in spans)]).astype(np.int64)),
            normal_Rn=self.normal_Rn[:, at_n],
            gains_n=self.gains_n[at_n],
            predictors_GF=self.predictors_GF[at_G],
        )


def _training_lists(
    config: GateConfig, spec: FusionSpec, packed: PackedTrainingData, within: CandidateBatch
) -> _TrainingLists:
    ones_RG = np.ones((len(within.retrievers), within.groups.num_groups))
    kept_n = fuse_with_weights(spec, within, ones_RG).kept_n
    kept = within.keep(kept_n)
    normal_Rn, _ = normalised_scores(spec, kept)
    fused_n = _common_weights(spec) @ normal_Rn
    group_n = np.repeat(np.arange(kept.groups.num_groups), kept.groups.lengths_G)
    position_n = np.empty(len(fused_n), np.int64)
    position_n[np.lexsort((-fused_n, group_n))] = np.arange(len(fused_n)) - kept.groups.offsets[group_n]
    in_list_n = position_n < config.list_length
    return _TrainingLists(
        groups=kept.keep(in_list_n).groups,
        normal_Rn=np.ascontiguousarray(normal_Rn[:, in_list_n]),
        gains_n=packed.gains_n[kept_n][in_list_n],
        predictors_GF=query_predictors(within),
    )


def _out_of_fold_weights(
    config: GateConfig, penalty: float, spec: FusionSpec, query_ids: tuple[str, ...], lists: _TrainingLists, seed: int
) -> tuple[Floats, Floats]:
    """Predict each query by a gate that was fitted without its fold: weights [R, G] and confidence [G]."""
    fold_G = np.array([fold_of(name, config.num_folds) for name in query_ids])
    weights_RG, confidence_G = np.zeros((len(spec.weights), len(fold_G))), np.zeros(len(fold_G))
    for fold in range(config.num_folds):
        in_fold_G = fold_G == fold
        outside = lists.select(np.flatnonzero(~in_fold_G))
        gate = _fit_parameters(config, penalty, spec, outside, np.random.default_rng([seed, fold]))
        weights_RG[:, in_fold_G], confidence_G[in_fold_G] = gate.predict(
            lists.predictors_GF[in_fold_G], _common_weights(spec)
        )
    return weights_RG, confidence_G


def _fit_parameters(
    config: GateConfig, penalty: float, spec: FusionSpec, lists: _TrainingLists, rng: np.random.Generator
) -> Gate:
    known_GF = np.isfinite(lists.predictors_GF)
    num_F = np.maximum(known_GF.sum(axis=0), 1)
    mean_F = np.where(known_GF, lists.predictors_GF, 0.0).sum(axis=0) / num_F
    centred_GF = np.where(known_GF, lists.predictors_GF - mean_F, 0.0)
    std_F = np.sqrt((centred_GF**2).sum(axis=0) / num_F)
    unfitted = Gate(
        mean_F=mean_F,
        scale_F=np.where(std_F > 1e-9, std_F, 0.0),  # with rounding, a constant has a tiny deviation
        low_F=np.where(known_GF, lists.predictors_GF, np.inf).min(axis=0, initial=np.inf),
        high_F=np.where(known_GF, lists.predictors_GF, -np.inf).max(axis=0, initial=-np.inf),
        slopes_BRF=np.empty(0),
        temperature_scale_B=np.empty(0),
    )
    num_queries = lists.groups.num_groups
    fits = [
        _fit_once(penalty, spec, lists.select(rng.integers(num_queries, size=num_queries)), unfitted)
        for _ in range(config.num_fits)
    ]
    return replace(
        unfitted,
        temperature_scale_B=np.array([scale for scale, _ in fits]),
        slopes_BRF=np.array([slopes_RF for _, slopes_RF in fits]),
    )


def _fit_once(penalty: float, spec: FusionSpec, lists: _TrainingLists, unfitted: Gate) -> tuple[float, Floats]:
    """Fit the scale t and the slopes V [R, F] on one sample of the queries."""
    standard_FG = unfitted.standardise(lists.predictors_GF).T
    varies_F = unfitted.scale_F > 0
    standard_Fn = lists.groups.spread(standard_FG[varies_F])
    interactions = (lists.normal_Rn[:, None, :] * standard_Fn[None, :, :]).reshape(-1, len(lists.gains_n))
    columns = np.concatenate([(_common_weights(spec) @ lists.normal_Rn)[None], interactions])
    weights = fit_listwise(
        columns,
        lists.groups,
        lists.gains_n,
        penalties_F=np.array([0.0, *([penalty] * len(interactions))]),
        lower_bounds_F=np.array([0.0, *([-np.inf] * len(interactions))]),
        start_F=np.array([10.0, *([0.0] * len(interactions))]),
    )
    slopes_RF = np.zeros((len(spec.weights), len(varies_F)))
    slopes_RF[:, varies_F] = weights[1:].reshape(len(spec.weights), -1)
    return float(weights[0]), slopes_RF


def _common_weights(spec: FusionSpec) -> Floats:
    """Return the spec's weights divided by their sum: float64 [R]."""
    weights_R = np.array(list(spec.weights.values()), np.float64)
    common_R: Floats = weights_R / weights_R.sum()
    return common_R


def _mean_and_standard_error(gains_G: Floats) -> tuple[float, float]:
    known_G = gains_G[~np.isnan(gains_G)]
    return float(known_G.mean()), float(known_G.std()) / len(known_G) ** 0.5
