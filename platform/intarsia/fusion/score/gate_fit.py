"""How a gate is fitted: listwise, on queries drawn with replacement, and how sure it must be by cross-validation.

Letters: n candidates of all queries, G queries, R retrievers, F facts, B fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.fuser import fuse_batch, fuse_weighted
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.score.convex import opinions
from intarsia.fusion.score.gate import Gate, GateConfig, GatedFuser, common_weights
from intarsia.fusion.score.listwise import fit_listwise
from intarsia.fusion.score.query_performance import query_facts
from intarsia.fusion.score.weighted import fit_weighted
from intarsia.fusion.spec import FusionSpec
from intarsia.fusion.training_data import PackedTrainingData, check_training_data
from intarsia.ids import fold_of
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lists:
    """The best candidates of each query under the common weights: what the fits read."""

    groups: Groups
    normal_Rn: Floats
    gains_n: Floats
    facts_GF: Floats

    def only(self, at_G: NDArray[np.int64]) -> _Lists:
        """Queries by their places, which may repeat."""
        spans = [np.arange(self.groups.offsets[g], self.groups.offsets[g + 1]) for g in at_G]
        at_n = np.concatenate([np.empty(0, np.int64), *spans])
        return _Lists(
            groups=Groups(np.cumsum([0, *(len(span) for span in spans)]).astype(np.int64)),
            normal_Rn=self.normal_Rn[:, at_n],
            gains_n=self.gains_n[at_n],
            facts_GF=self.facts_GF[at_G],
        )


_MIN_QUERIES = 4  # per fold; of fewer no gate can be told from luck


def fit_gate(config: GateConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> GatedFuser:
    """Common weights, then the gate; it is left out when nothing that was tried gains a standard error of nDCG out of fold.

    With fewer than a handful of queries per fold nothing is tried.

    Args:
        config: settings.
        train: everything is fitted on these; penalty and agreement are chosen out of fold.
        validation: serves the common weights alone.
        seed: of the drawn queries.

    Raises:
        DataError: no candidate of a train query is relevant.

    Source: a mixture whose gate reads the input: Jacobs, Jordan, Nowlan and Hinton, Neural Computation 1991, doi:10.1162/neco.1991.3.1.79;
    per-query weights from score statistics after Bruch, Gai and Ingber, TOIS 2023; the rule of one standard error: Breiman et al., 1984.
    """
    check_training_data("train", train)
    spec = fit_weighted(config.common, train, validation, seed).spec
    common = GatedFuser(config=config, spec=spec, gate=None, agreement=0.0)
    if len(train.query_ids) < _MIN_QUERIES * config.num_folds:
        return common
    learn = PackedTrainingData.of(train)
    within = learn.batch.cut(spec.depth)
    lists = _lists(config, spec, learn, within)
    common_R, common_ndcg_G = common_weights(spec), learn.ndcg_G(fuse_batch(spec, learn.batch), config.common.k)
    best, chosen = 0.0, None
    for penalty in config.penalties:
        weights_RG, sure_G = _out_of_fold(config, penalty, spec, train.query_ids, lists, seed)
        for agreement in config.agreements:
            own = fuse_weighted(spec, within, np.where(sure_G >= agreement, weights_RG, common_R[:, None]))
            gain, error = _mean_and_error(learn.ndcg_G(own, config.common.k) - common_ndcg_G)
            if gain > max(best, error):
                best, chosen = gain, (penalty, agreement)
    if chosen is None:
        return common
    gate = _fit(config, chosen[0], spec, lists, np.random.default_rng(seed))
    return GatedFuser(config=config, spec=spec, gate=gate, agreement=chosen[1])


def _mean_and_error(gains_G: Floats) -> tuple[float, float]:
    known_G = gains_G[~np.isnan(gains_G)]
    return float(known_G.mean()), float(known_G.std()) / len(known_G) ** 0.5


def _lists(config: GateConfig, spec: FusionSpec, learn: PackedTrainingData, within: CandidateBatch) -> _Lists:
    everyone_RG = np.ones((len(within.retrievers), within.groups.num_groups))
    kept_n = fuse_weighted(spec, within, everyone_RG).kept_n
    kept = within.keep(kept_n)
    normal_Rn, _ = opinions(spec, kept)
    fused_n = common_weights(spec) @ normal_Rn
    group_n = np.repeat(np.arange(kept.groups.num_groups), kept.groups.lengths_G)
    place_n = np.empty(len(fused_n), np.int64)
    place_n[np.lexsort((-fused_n, group_n))] = np.arange(len(fused_n)) - kept.groups.offsets[group_n]
    read_n = place_n < config.list_length
    read = kept.keep(read_n)
    return _Lists(
        groups=read.groups,
        normal_Rn=np.ascontiguousarray(normal_Rn[:, read_n]),
        gains_n=learn.gains_n[kept_n][read_n],
        facts_GF=query_facts(within),
    )


def _out_of_fold(
    config: GateConfig, penalty: float, spec: FusionSpec, query_ids: tuple[str, ...], lists: _Lists, seed: int
) -> tuple[Floats, Floats]:
    """What gates that never saw a query predict for it: weights [R, G] and sureness [G]."""
    fold_G = np.array([fold_of(name, config.num_folds) for name in query_ids])
    weights_RG, sure_G = np.zeros((len(spec.weights), len(fold_G))), np.zeros(len(fold_G))
    for fold in range(config.num_folds):
        here_G = fold_G == fold
        gate = _fit(config, penalty, spec, lists.only(np.flatnonzero(~here_G)), np.random.default_rng([seed, fold]))
        weights_RG[:, here_G], sure_G[here_G] = gate.weights(lists.facts_GF[here_G], common_weights(spec))
    return weights_RG, sure_G


def _fit(config: GateConfig, penalty: float, spec: FusionSpec, lists: _Lists, rng: np.random.Generator) -> Gate:
    known_GF = np.isfinite(lists.facts_GF)
    num_F = np.maximum(known_GF.sum(axis=0), 1)
    mean_F = np.where(known_GF, lists.facts_GF, 0.0).sum(axis=0) / num_F
    away_GF = np.where(known_GF, lists.facts_GF - mean_F, 0.0)
    scale_F = np.sqrt((away_GF**2).sum(axis=0) / num_F)
    gate = Gate(
        mean_F=mean_F,
        scale_F=np.where(scale_F > 1e-9, scale_F, 0.0),  # rounding gives a constant a tiny deviation
        low_F=np.where(known_GF, lists.facts_GF, np.inf).min(axis=0, initial=np.inf),
        high_F=np.where(known_GF, lists.facts_GF, -np.inf).max(axis=0, initial=-np.inf),
        slopes_BRF=np.empty(0),
        temper_B=np.empty(0),
    )
    num_queries = lists.groups.num_groups
    drawn = [
        _fit_once(penalty, spec, lists.only(rng.integers(num_queries, size=num_queries)), gate)
        for _ in range(config.num_fits)
    ]
    return Gate(
        mean_F=gate.mean_F,
        scale_F=gate.scale_F,
        low_F=gate.low_F,
        high_F=gate.high_F,
        temper_B=np.array([temper for temper, _ in drawn]),
        slopes_BRF=np.array([slopes_RF for _, slopes_RF in drawn]),
    )


def _fit_once(penalty: float, spec: FusionSpec, lists: _Lists, gate: Gate) -> tuple[float, Floats]:
    standard_FG = gate.standardise(lists.facts_GF).T
    varies_F = gate.scale_F > 0
    standard_Fn = lists.groups.spread(standard_FG[varies_F])
    crossed = (lists.normal_Rn[:, None, :] * standard_Fn[None, :, :]).reshape(-1, len(lists.gains_n))
    columns = np.concatenate([(common_weights(spec) @ lists.normal_Rn)[None], crossed])
    fitted = fit_listwise(
        columns,
        lists.groups,
        lists.gains_n,
        penalties_F=np.array([0.0, *([penalty] * len(crossed))]),
        least_F=np.array([0.0, *([-np.inf] * len(crossed))]),
        start_F=np.array([10.0, *([0.0] * len(crossed))]),
    )
    slopes_RF = np.zeros((len(spec.weights), len(varies_F)))
    slopes_RF[:, varies_F] = fitted[1:].reshape(len(spec.weights), -1)
    return float(fitted[0]), slopes_RF
