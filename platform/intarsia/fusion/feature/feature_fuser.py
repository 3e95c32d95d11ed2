"""The fuser of a feature fusion method.

The method's score is one more column, `joint`, that a score fuser combines with the retrievers' scores. The column adds
no candidate: it scores those that the retrievers returned. It exists for the score fuser only; the fused candidates
have the retrievers of the input. Shapes: C candidates, R retrievers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intarsia.config import check_range, setting
from intarsia.errors import ConfigError
from intarsia.fusion.ensemble.base_methods import BASE_METHODS, BaseMethodConfig, fit_base, open_base
from intarsia.fusion.feature.config import FeatureFitConfig, FeatureMethodName
from intarsia.fusion.feature.scorer import FeatureScorer
from intarsia.fusion.fuser import BatchFuser, SpecFuser
from intarsia.fusion.method import read_config, write_fusion_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.fusion.training_data import queries_outside_fold
from intarsia.ids import fold_of
from intarsia.names import ENCODED_MODALITIES
from intarsia.records.candidates import Candidates, best_first

JOINT = "joint"
"""Name of the column of feature fusion, used like the name of a retriever."""

SCORER_FOLDER, SCORE_FUSER_FOLDER = "joint", "score_fuser"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """A feature fusion method, and how its column is combined with the retrievers' scores."""

    kind: FeatureMethodName = setting("the feature fusion method")
    joint: FeatureFitConfig = setting("how it is fitted", factory=FeatureFitConfig, advanced=True)
    use: Literal["with_scores", "only"] = setting(
        "with_scores: the method in `fused_by` combines the column with the retrievers' scores; only: order by the "
        "column only",
        "with_scores",
        advanced=True,
    )
    fused_by: BaseMethodConfig = setting(
        "the method that combines the columns; not used with `use: only`", factory=WeightedConfig, advanced=True
    )
    num_folds: int = setting(
        "0: `fused_by` is fitted on the validation queries; else on the train queries, with out-of-fold scores of this "
        "number of additional fits: useful if there are few validation queries",
        0,
        advanced=True,
    )

    def __post_init__(self) -> None:
        if self.num_folds != 0:
            check_range(self, "num_folds", low=2)


def add_feature_scores(scorer: FeatureScorer, products: ProductVectors, candidates: Candidates) -> Candidates:
    """Add the column `joint` with the scores of a scorer; NaN where the query or the product has no vector.

    Raises:
        ReleaseMismatch: vectors have other widths, or are of another space, than those of the fit.
    """
    query_has_vector = any(name in candidates.query_vectors for name in ENCODED_MODALITIES)
    known_C = np.logical_and(products.has_N2[candidates.rows_C].any(axis=1), query_has_vector)
    scores_C = np.full(len(candidates.rows_C), np.nan, np.float32)
    scores_C[known_C] = scorer.score(candidates.query_vectors, products, candidates.rows_C[known_C])
    return add_joint_column(candidates, scores_C)


def add_joint_column(candidates: Candidates, scores_C: NDArray[np.float32]) -> Candidates:
    """Add `joint` as the last retriever, ranked by its scores (ties by row); a score of NaN gets no rank."""
    assert JOINT not in candidates.retrievers
    assert scores_C.shape == candidates.rows_C.shape
    scores_C1 = scores_C.astype(np.float32)[:, np.newaxis]
    known = np.flatnonzero(np.isfinite(scores_C))
    ranks_C1 = np.zeros_like(scores_C1, np.int32)
    ordered = known[best_first(scores_C[known], candidates.rows_C[known])]
    ranks_C1[ordered, 0] = np.arange(1, len(known) + 1)
    return replace(
        candidates,
        retrievers=(*candidates.retrievers, JOINT),
        scores_CR=np.concatenate([candidates.scores_CR, scores_C1], axis=1),
        ranks_CR=np.concatenate([candidates.ranks_CR, ranks_C1], axis=1),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFuser:
    """A scorer of vectors, and the score fuser that combines its column with the retrievers' scores."""

    config: FeatureConfig
    scorer: FeatureScorer
    score_fuser: BatchFuser
    products: ProductVectors

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> FeatureFuser:
        """Open a saved fuser for the vectors of a catalog.

        Raises:
            ArtifactError: a file is missing or damaged.
            ConfigError: `products` is None.
        """
        config, _ = read_config(FeatureConfig, folder)
        if products is None:
            raise ConfigError(f"fusion method {config.kind} reads the vectors of products. Fix: open it with them")
        scorer = FeatureScorer.open(folder / SCORER_FOLDER)
        scorer.read_products(products)  # now, not at the first query
        return cls(config=config, scorer=scorer, score_fuser=open_base(folder / SCORE_FUSER_FOLDER), products=products)

    def fuse(self, candidates: Candidates) -> Candidates:
        """Fuse one query; a query without vectors is ordered by the retrievers' scores.

        Raises:
            ReleaseMismatch: a retriever was not part of the fit, or vectors have other widths.
        """
        fused = self.score_fuser.fuse(add_feature_scores(self.scorer, self.products, candidates))
        num = len(candidates.retrievers)
        return replace(
            fused,
            retrievers=candidates.retrievers,
            scores_CR=np.ascontiguousarray(fused.scores_CR[:, :num]),
            ranks_CR=np.ascontiguousarray(fused.ranks_CR[:, :num]),
        )

    def save(self, folder: Path) -> None:
        """Write settings, scorer and score fuser; the product vectors belong to the catalog and are not written."""
        for name, part in ((SCORER_FOLDER, self.scorer), (SCORE_FUSER_FOLDER, self.score_fuser)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            part.save(folder / name)
        write_fusion_header(folder, self.config, {})


def fit_features(
    config: FeatureConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> FeatureFuser:
    """Fit the scorer, then the score fuser, on columns of scorers that were not fitted on the query.

    Raises:
        ConfigError: the training data has no product vectors.
        DataError: no candidate is relevant, of the train queries or of those outside some fold.
    """
    fit = _FeatureFit(config, train, validation, seed)
    scorer = fit.fit_scorer(train)
    return fit.make_fuser(scorer, fit.fit_fold_scorers(config.num_folds) if fit.needs_fold_scorers else ())


def cross_fit_features(
    config: FeatureConfig, train: FusionTrainingData, validation: FusionTrainingData, num_folds: int, seed: int
) -> tuple[FeatureFuser, tuple[FeatureFuser, ...]]:
    """Fit the fuser of all train queries and one per fold, with num_folds + 1 fits of a scorer.

    Each fold's scorer is used twice: for the out-of-fold column on which the full fuser's score fuser is fitted, and in
    the fold's own fuser, whose score fuser is fitted on the validation queries. So no fold's fuser has read a grade of
    the fold's queries.

    Raises:
        ConfigError, DataError: see `fit_features`.
    """
    fit = _FeatureFit(config, train, validation, seed)
    scorers = fit.fit_fold_scorers(num_folds)
    full = fit.make_fuser(fit.fit_scorer(train), scorers if fit.needs_fold_scorers else ())
    return full, tuple(fit.make_fuser(scorer, ()) for scorer in scorers)


class _FeatureFit:
    def __init__(
        self, config: FeatureConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
    ) -> None:
        if train.products is None or validation.products is None:
            raise ConfigError(
                f"fusion method {config.kind} reads the vectors of products. "
                "Fix: give the training data its product vectors"
            )
        self.config, self.train, self.validation, self.seed = config, train, validation, seed
        self.products = train.products

    @property
    def needs_fold_scorers(self) -> bool:
        """Whether the score fuser is fitted on columns of train queries."""
        config = self.config
        return config.use == "with_scores" and BASE_METHODS[config.fused_by.kind].is_fitted and config.num_folds > 0

    def fit_scorer(self, train: FusionTrainingData) -> FeatureScorer:
        from intarsia.fusion.feature.fit import fit_scorer  # imports torch, which serving does without

        return fit_scorer(self.config.kind, train, self.validation, self.config.joint, self.seed)

    def fit_fold_scorers(self, num_folds: int) -> Sequence[FeatureScorer]:
        """Fit one scorer per fold, without the fold's queries."""
        return [self.fit_scorer(queries_outside_fold(self.train, fold, num_folds)) for fold in range(num_folds)]

    def make_fuser(self, scorer: FeatureScorer, fold_scorers: Sequence[FeatureScorer]) -> FeatureFuser:
        return FeatureFuser(
            config=self.config,
            scorer=scorer,
            score_fuser=self._score_fuser(scorer, fold_scorers),
            products=self.products,
        )

    def _score_fuser(self, scorer: FeatureScorer, fold_scorers: Sequence[FeatureScorer]) -> BatchFuser:
        """Fit on train with columns of fold scorers; without these, on validation with the scorer's column."""
        fused_by, train = self.config.fused_by, self.train
        if self.config.use == "only":
            retrievers = dict.fromkeys(name for candidates in train.candidates for name in candidates.retrievers)
            return SpecFuser(FusionSpec(kind="convex", weights={**dict.fromkeys(retrievers, 0.0), JOINT: 1.0}))
        if not BASE_METHODS[fused_by.kind].is_fitted:
            return fit_base(fused_by, train, self.validation, self.seed)
        validation = self._with_column(self.validation, [scorer] * len(self.validation.query_ids))
        if not fold_scorers:
            return fit_base(fused_by, validation, validation, self.seed)
        out_of_fold = [fold_scorers[fold_of(query_id, len(fold_scorers))] for query_id in train.query_ids]
        return fit_base(fused_by, self._with_column(train, out_of_fold), validation, self.seed)

    def _with_column(self, training_data: FusionTrainingData, scorers: Sequence[FeatureScorer]) -> FusionTrainingData:
        """Add the column `joint` to each query's candidates, by one scorer per query."""
        pairs = zip(scorers, training_data.candidates, strict=True)
        return replace(
            training_data,
            candidates=[add_feature_scores(scorer, self.products, candidates) for scorer, candidates in pairs],
        )
