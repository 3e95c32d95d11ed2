"""Feature fusion among the fusers: its score is one more column, `joint`, that a score fuser weighs beside the retrievers' own.

What scores vectors is `joint/`'s matter. The column is for the score fuser alone: what comes out has the retrievers that went in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from intarsia.config import check_range, setting
from intarsia.errors import ConfigError
from intarsia.fusion.ensemble.folds import others
from intarsia.fusion.feature.config import JointConfig, JointKind
from intarsia.fusion.feature.score_column import JOINT, add_joint
from intarsia.fusion.feature.scorer import JointScorer
from intarsia.fusion.fuser import BatchFuser, SpecFuser
from intarsia.fusion.method import read_config, write_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.plain_methods import BASE_KINDS, BaseConfig, fit_base, open_base
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import fold_of
from intarsia.records.candidates import Candidates

SCORER, BESIDE = "joint", "beside"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """A kind of feature fusion, and how its column is weighed."""

    kind: JointKind = setting("which kind of feature fusion")
    joint: JointConfig = setting("how it is fitted", factory=JointConfig)
    use: Literal["beside", "alone"] = setting(
        "beside: the column and the retrievers' are fused by the kind in `fused_by`; alone: the column is all that orders",
        "beside",
    )
    fused_by: BaseConfig = setting("what fuses the columns; nothing for alone", factory=WeightedConfig)
    num_folds: int = setting(
        "0: `fused_by` is fitted on the validation queries, with the columns of the one scorer; else folds of the train queries, whose "
        "columns are of scorers that never saw them: as many further fits, worth it where few queries are validation",
        0,
    )

    def __post_init__(self) -> None:
        if self.num_folds != 0:
            check_range(self, "num_folds", low=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFuser:
    """A scorer of vectors and the score fuser that weighs its column."""

    config: FeatureConfig
    scorer: JointScorer
    beside: BatchFuser
    products: ProductVectors

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> FeatureFuser:
        """What `save` wrote, over the vectors of a catalog.

        Raises:
            ArtifactError: it is missing or torn.
            ConfigError: no product vectors were given.
        """
        config, _ = read_config(FeatureConfig, folder)
        if products is None:
            raise ConfigError(f"fusion kind {config.kind} reads the vectors of products; open it with them")
        scorer = JointScorer.open(folder / SCORER)
        scorer.read(products)  # here, so that no query waits for it
        return cls(config=config, scorer=scorer, beside=open_base(folder / BESIDE), products=products)

    def fuse(self, candidates: Candidates) -> Candidates:
        """One query, see `Fuser.fuse`; a query without vectors has no column, and the retrievers' order it.

        Raises:
            ReleaseMismatch: a retriever that was not there at the fit, or vectors of other widths.
        """
        fused = self.beside.fuse(add_joint(self.scorer, self.products, candidates))
        num = len(candidates.retrievers)
        return replace(
            fused,
            retrievers=candidates.retrievers,
            scores_CR=np.ascontiguousarray(fused.scores_CR[:, :num]),
            ranks_CR=np.ascontiguousarray(fused.ranks_CR[:, :num]),
        )

    def save(self, folder: Path) -> None:
        """Write settings, scorer and score fuser; the products' vectors are the catalog's."""
        for name, part in ((SCORER, self.scorer), (BESIDE, self.beside)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            part.save(folder / name)
        write_header(folder, self.config, {})


def fit_features(
    config: FeatureConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> FeatureFuser:
    """Fit the scorer, then what weighs its column, on columns of scorers that did not learn from the query.

    Raises:
        ConfigError: the lessons have no product vectors.
        DataError: nothing relevant to learn from, in all train queries or outside some fold.
    """
    fit = _Fit(config, train, validation, seed)
    scorer = fit.scorer(train)
    return fit.fuser(scorer, fit.fold_scorers(config.num_folds) if fit.needs_folds else ())


def fit_features_crossed(
    config: FeatureConfig, train: FusionTrainingData, validation: FusionTrainingData, num_folds: int, seed: int
) -> tuple[FeatureFuser, tuple[FeatureFuser, ...]]:
    """The fuser of all train queries and one for each fold, from one scorer more than there are folds.

    The scorers of the folds serve twice: as those that never saw a query for the columns of the full fuser's fit, and in the fuser of
    their fold, whose columns are weighed on the validation queries. So no fold's fuser has seen a grade of its queries.

    Raises:
        ConfigError, DataError: as `fit_features`.
    """
    fit = _Fit(config, train, validation, seed)
    scorers = fit.fold_scorers(num_folds)
    full = fit.fuser(fit.scorer(train), scorers if fit.needs_folds else ())
    return full, tuple(fit.fuser(scorer, ()) for scorer in scorers)


class _Fit:
    def __init__(
        self, config: FeatureConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
    ) -> None:
        if train.products is None or validation.products is None:
            raise ConfigError(f"fusion kind {config.kind} reads the vectors of products; give the lessons theirs")
        self.config, self.train, self.validation, self.seed = config, train, validation, seed
        self.products = train.products

    @property
    def needs_folds(self) -> bool:
        """Whether something is fitted on columns of train queries."""
        config = self.config
        return config.use == "beside" and BASE_KINDS[config.fused_by.kind].is_fitted and config.num_folds > 0

    def scorer(self, train: FusionTrainingData) -> JointScorer:
        """A scorer that learned from some train queries."""
        from intarsia.fusion.feature.fit import fit_joint  # brings torch, which nobody needs who only serves

        return fit_joint(self.config.kind, train, self.validation, self.config.joint, self.seed)

    def fold_scorers(self, num_folds: int) -> Sequence[JointScorer]:
        """For each fold, one that never saw its queries."""
        return [self.scorer(others(self.train, fold, num_folds)) for fold in range(num_folds)]

    def fuser(self, scorer: JointScorer, fold_scorers: Sequence[JointScorer]) -> FeatureFuser:
        """A scorer and what weighs its column: fitted on train by fold scorers, without any on validation by the scorer itself."""
        return FeatureFuser(
            config=self.config, scorer=scorer, beside=self._beside(scorer, fold_scorers), products=self.products
        )

    def _beside(self, scorer: JointScorer, fold_scorers: Sequence[JointScorer]) -> BatchFuser:
        fused_by, train = self.config.fused_by, self.train
        if self.config.use == "alone":
            retrievers = dict.fromkeys(name for one in train.candidates for name in one.retrievers)
            return SpecFuser(FusionSpec(kind="convex", weights={**dict.fromkeys(retrievers, 0.0), JOINT: 1.0}))
        if not BASE_KINDS[fused_by.kind].is_fitted:
            return fit_base(fused_by, train, self.validation, self.seed)
        checked = self._with_columns(self.validation, [scorer] * len(self.validation.query_ids))
        if not fold_scorers:
            return fit_base(fused_by, checked, checked, self.seed)
        unseen = [fold_scorers[fold_of(query_id, len(fold_scorers))] for query_id in train.query_ids]
        return fit_base(fused_by, self._with_columns(train, unseen), checked, self.seed)

    def _with_columns(self, training_data: FusionTrainingData, scorers: Sequence[JointScorer]) -> FusionTrainingData:
        pairs = zip(scorers, training_data.candidates, strict=True)
        return replace(training_data, candidates=[add_joint(scorer, self.products, one) for scorer, one in pairs])
