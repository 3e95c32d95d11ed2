"""Fits a feature fusion method: initial projections, sampling of the training batches, and the training loop.

A step trains on the candidate lists of judged queries, and on products that must be retrieved by their own text or
image. The state with the best nDCG on the validation queries is kept. The fit runs in one process: the vectors exist
already, and the module is small.

Shapes: G queries of a step, L candidates of each, P products of a step, n products, D text width, E image width, H
common width.
"""

from __future__ import annotations

import copy
import math
import time
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from intarsia.errors import ConfigError
from intarsia.fusion.feature.config import FeatureFitConfig, FeatureMethodName
from intarsia.fusion.feature.export import export_scorer
from intarsia.fusion.feature.modules import (
    FEATURE_MODULES,
    FeatureModule,
    MaskedTokens,
    ModalityTensors,
    VectorWidths,
)
from intarsia.fusion.feature.scorer import (
    FIT_S,
    QUERY_SPACES,
    VALIDATION_CURVE,
    FeatureScorer,
    ModalityArrays,
    product_arrays,
    query_arrays,
    query_spaces,
)
from intarsia.fusion.fuser import FusedBatch
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.training_data import PackedTrainingData, check_training_data
from intarsia.maths.arrays import Floats
from intarsia.maths.unit_vectors import unit_vectors

_WARMUP_SHARE = 0.1
_MAX_GRADIENT_NORM = 1.0  # without the limit, the first step of a new head changes it too much
_CUTOFF = 10  # k of the nDCG that is measured

_MASKED_SCORE = -1e30  # its softmax is 0; with -inf, cross-entropy would compute 0 x -inf = NaN

MAX_INITIAL_PRODUCTS = 50_000
"""Products, evenly spread over the catalog, that the initial projections are computed from; more cost memory."""

_RIDGE = 1e-3  # penalty relative to the mean square of an image vector's number; keeps the equations solvable

_SAME_TEXT = 0.95  # cosine of two texts from which neither product is a negative for the other
_QUERY_SHARES = (0.7, 0.15, 0.15)  # products retrieved by text, by image, by both: the usual mix of a shop's queries


def fit_scorer(
    kind: FeatureMethodName,
    train: FusionTrainingData,
    validation: FusionTrainingData,
    config: FeatureFitConfig | None = None,
    seed: int = 0,
) -> FeatureScorer:
    """Fit a feature fusion method and export it for serving; equal arguments give equal scorers.

    Args:
        kind: name of the method, a key of `FEATURE_MODULES`.
        train: judged queries to train on, with the product vectors.
        validation: judged queries that choose the best state; no gradient comes from them.
        config: default: `FeatureFitConfig()`.
        seed: of everything random.

    Raises:
        ConfigError: the training data has no product vectors.
        DataError: no candidate of a train query is relevant.
        ReleaseMismatch: a query vector is not as wide as the products' vectors of its modality, or the queries are of
            several spaces.
    """
    started_s = time.perf_counter()
    config = config or FeatureFitConfig()
    fit = _ScorerFit(kind, train, validation, config, seed)
    spaces = query_spaces(candidates.query_vectors for candidates in train.candidates)
    metadata = {VALIDATION_CURVE: fit.run(), QUERY_SPACES: spaces, FIT_S: time.perf_counter() - started_s}
    return export_scorer(kind, fit.module, fit.widths, metadata)


def initial_projections(products: ModalityArrays, width: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Compute projections of texts [D, H] and images [E, H] into a common space, in closed form.

    Texts are projected to their principal directions, of which the first few dozen keep most of the cosines. Images are
    projected by ridge regression to the projected texts of their products. From this start, seconds of training are
    enough.

    If too few products have a text (or both modalities), the directions are random and of unit length.

    Source: Pearson 1901 (principal components, not centred); Hoerl and Kennard 1970 (ridge).
    doi:10.1080/00401706.1970.10488634
    """
    step = max(1, -(-len(products.has) // MAX_INITIAL_PRODUCTS))
    sample = ModalityArrays(products.text[::step], products.image[::step], products.has[::step])
    text_DH = _principal_directions(sample.text[sample.has[:, 0]], width, rng)
    both_n = sample.has.all(axis=1)
    image_EH = _ridge_regression(sample.image[both_n], sample.text[both_n] @ text_DH, rng)
    return text_DH, image_EH


def _principal_directions(vectors_nD: NDArray[np.float32], width: int, rng: np.random.Generator) -> Floats:
    """Return the `width` principal directions [D, H]; random ones after the rank of the vectors."""
    directions_DH = _random_directions(vectors_nD.shape[1], width, rng)
    second_moment_DD = vectors_nD.T.astype(np.float64) @ vectors_nD
    eigenvalues_D, eigenvectors_DD = np.linalg.eigh(second_moment_DD)
    rank = min(width, int(np.count_nonzero(eigenvalues_D > eigenvalues_D.max(initial=0.0) * 1e-9)))
    directions_DH[:, :rank] = eigenvectors_DD[:, ::-1][:, :rank]
    return directions_DH


def _ridge_regression(vectors_nE: NDArray[np.float32], targets_nH: Floats, rng: np.random.Generator) -> Floats:
    """Return the map [E, H] from vectors to targets; random directions if there are fewer than two vectors."""
    num, width = vectors_nE.shape
    if num < 2:
        return _random_directions(width, targets_nH.shape[1], rng)
    exact_nE = vectors_nE.astype(np.float64)
    second_moment_EE = exact_nE.T @ exact_nE
    penalty = _RIDGE * np.trace(second_moment_EE) / width + np.finfo(np.float64).tiny
    solution_EH: Floats = np.linalg.solve(second_moment_EE + penalty * np.eye(width), exact_nE.T @ targets_nH)
    return solution_EH


def _random_directions(num: int, width: int, rng: np.random.Generator) -> Floats:
    directions = rng.normal(size=(num, width))
    return unit_vectors(directions.T).T


class JudgedBatch(NamedTuple):
    """Candidate lists of some judged queries.

    Attributes:
        queries_G: positions of the queries in the training data.
        rows_GL: product rows of the candidates.
        gains_GL: 2^grade - 1.
        filled_GL: false for padding.
    """

    queries_G: NDArray[np.int64]
    rows_GL: NDArray[np.int64]
    gains_GL: NDArray[np.float32]
    filled_GL: NDArray[np.bool_]


class ProductBatch(NamedTuple):
    """Products that are retrieved by their own text or image.

    Attributes:
        rows_P: product rows.
        query_has_P2: which modalities the product as a query has.
        product_has_P2: which modalities the product as a candidate has.
        candidates_PP: candidates of each query: the product itself and its negatives.
    """

    rows_P: NDArray[np.int64]
    query_has_P2: NDArray[np.bool_]
    product_has_P2: NDArray[np.bool_]
    candidates_PP: NDArray[np.bool_]


class JudgedListSampler:
    """Samples queries with a relevant candidate, in a new random order each time all have been drawn."""

    def __init__(self, training_data: FusionTrainingData, rng: np.random.Generator) -> None:
        self._training_data, self._rng = training_data, rng
        self._informative = np.array(
            [i for i, grades in enumerate(training_data.grades) if (grades > 0).any()], np.int64
        )
        self._queue = np.empty(0, np.int64)

    def draw(self, num_queries: int, length: int) -> JudgedBatch:
        """Draw the next queries, each with some relevant candidates (at most half of the list) and some others."""
        while len(self._queue) < num_queries:
            self._queue = np.concatenate([self._queue, self._rng.permutation(self._informative)])
        queries_G, self._queue = self._queue[:num_queries], self._queue[num_queries:]
        rows_GL = np.zeros((num_queries, length), np.int64)
        gains_GL = np.zeros((num_queries, length), np.float32)
        filled_GL = np.zeros((num_queries, length), np.bool_)
        for g, query in enumerate(queries_G):
            grades_C = self._training_data.grades[query]
            chosen = self._choose(grades_C > 0, length)
            rows_GL[g, : len(chosen)] = self._training_data.candidates[query].rows_C[chosen]
            gains_GL[g, : len(chosen)] = np.exp2(grades_C[chosen]) - 1.0
            filled_GL[g, : len(chosen)] = True
        return JudgedBatch(queries_G, rows_GL, gains_GL, filled_GL)

    def _choose(self, relevant_C: NDArray[np.bool_], length: int) -> NDArray[np.int64]:
        relevant = self._rng.permutation(np.flatnonzero(relevant_C))[: length // 2]
        others = self._rng.permutation(np.flatnonzero(~relevant_C))[: length - len(relevant)]
        return np.concatenate([relevant, others])


class ProductSampler:
    """Samples products that have a text or an image."""

    def __init__(self, products: ModalityArrays, rng: np.random.Generator) -> None:
        self._products, self._rng = products, rng
        self._usable = np.flatnonzero(products.has.any(axis=1))

    def draw(self, num_products: int, hidden_share: float) -> ProductBatch:
        """Draw products without replacement, and hide modalities.

        Half of the products that have another modality lose the modality of their query, so that it must be retrieved
        by the other one.
        """
        num = min(num_products, len(self._usable))
        rows_P = self._rng.choice(self._usable, num, replace=False)
        has_P2 = self._products.has[rows_P]
        query_kinds = np.array([[True, False], [False, True], [True, True]])
        query_kind_P2 = query_kinds[self._rng.choice(3, num, p=_QUERY_SHARES)]
        query_has_P2 = keep_at_least_one(has_P2 & query_kind_P2, has_P2)
        removed_P2 = query_has_P2 & (self._rng.random((num, 1)) < 0.5)
        product_has_P2 = hide_modalities(keep_at_least_one(has_P2 & ~removed_P2, has_P2), hidden_share, self._rng)
        texts = np.where(has_P2[:, :1], self._products.text[rows_P], 0.0)
        different_PP = texts @ texts.T < _SAME_TEXT
        return ProductBatch(rows_P, query_has_P2, product_has_P2, different_PP | np.eye(num, dtype=bool))


def hide_modalities(has: NDArray[np.bool_], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Set each flag to false with probability `share`, unless none would be left: bool [..., 2]."""
    return keep_at_least_one(has & (rng.random(has.shape) >= share), has)


def keep_at_least_one(reduced: NDArray[np.bool_], has: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `reduced`; where it has no flag left, return `has`."""
    return np.where(reduced.any(axis=-1, keepdims=True), reduced, has)


class _ScorerFit:
    def __init__(
        self,
        kind: FeatureMethodName,
        train: FusionTrainingData,
        validation: FusionTrainingData,
        config: FeatureFitConfig,
        seed: int,
    ) -> None:
        if train.products is None or validation.products is None:
            raise ConfigError(
                f"feature fusion {kind} compares vectors of products, and the training data has none (products is None)"
            )
        check_training_data("train", train)
        self.config, self.rng = config, np.random.default_rng(seed)
        self.products = product_arrays(train.products)
        self.widths = VectorWidths(self.products.text.shape[1], self.products.image.shape[1])
        self.queries = _query_arrays(train, self.widths)
        self.validation = validation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = FEATURE_MODULES[kind](self.widths, config)
            self.torch_state = torch.get_rng_state()
        text_DH, image_EH = initial_projections(self.products, config.width, self.rng)
        self.module.set_projections(torch.from_numpy(text_DH).float(), torch.from_numpy(image_EH).float())
        self.judged_lists = JudgedListSampler(train, self.rng)
        self.product_sampler = ProductSampler(self.products, self.rng)

    def run(self) -> list[tuple[int, float]]:
        """Train the module, and load its best state. Returns (step, validation nDCG@10) of each measurement."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.torch_state)
            return self._train()

    def _train(self) -> list[tuple[int, float]]:
        config, module = self.config, self.module
        optimiser = torch.optim.AdamW(module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate_share(step, config.num_steps))
        measurement = _ValidationMeasurement(self.validation, self.widths)
        curve = [(0, measurement.mean_ndcg(module))]
        best_state = copy.deepcopy(module.state_dict())
        for step in range(1, config.num_steps + 1):
            module.train()
            optimiser.zero_grad()
            self._loss().backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), _MAX_GRADIENT_NORM)
            optimiser.step()
            schedule.step()
            if step % config.measure_every == 0 or step == config.num_steps:
                curve.append((step, measurement.mean_ndcg(module)))
                if curve[-1][1] > max(ndcg for _, ndcg in curve[:-1]):
                    best_state = copy.deepcopy(module.state_dict())
        module.load_state_dict(best_state)
        module.eval()
        return curve

    def _loss(self) -> torch.Tensor:
        config = self.config
        loss = self._judged_loss(self.judged_lists.draw(config.queries_per_step, config.candidates_per_query))
        if not (config.products_weight or config.own_weight):
            return loss
        batch = self.product_sampler.draw(config.products_per_step, config.modality_dropout)
        if config.products_weight and len(batch.rows_P) > 1:
            loss = loss + config.products_weight * self._products_loss(batch)
        if config.own_weight:
            loss = loss + config.own_weight * self.module.auxiliary_loss(_tensors(self.products.rows(batch.rows_P)))
        return loss

    def _judged_loss(self, batch: JudgedBatch) -> torch.Tensor:
        """ListNet: cross-entropy of softmax(scores) against each candidate's share of its list's gain.

        Source: Cao et al., ICML 2007, eq. 5-6 (top one). doi:10.1145/1273496.1273513
        """
        products, queries = self.products.rows(batch.rows_GL), self.queries.rows(batch.queries_G)
        hidden_share = self.config.modality_dropout
        products = products._replace(has=hide_modalities(products.has, hidden_share, self.rng))
        queries = queries._replace(has=hide_modalities(queries.has, hidden_share, self.rng))
        scores_GL = self.module.compare(
            self.module.read_queries(_tensors(queries)), self.module.read_products(_tensors(products))
        )
        scores_GL = scores_GL.masked_fill(~torch.from_numpy(batch.filled_GL), _MASKED_SCORE)
        shares_GL = torch.from_numpy(batch.gains_GL / batch.gains_GL.sum(axis=1, keepdims=True))
        return functional.cross_entropy(scores_GL, shares_GL)

    def _products_loss(self, batch: ProductBatch) -> torch.Tensor:
        """InfoNCE: each product is retrieved by its own text, image or both among the products of the batch."""
        vectors = self.products.rows(batch.rows_P)
        queries = self.module.read_queries(_tensors(vectors._replace(has=batch.query_has_P2)))
        products = self.module.read_products(_tensors(vectors._replace(has=batch.product_has_P2)))
        scores_PP = self.module.compare(queries, MaskedTokens(products.values.unsqueeze(0), products.mask.unsqueeze(0)))
        scores_PP = scores_PP.masked_fill(~torch.from_numpy(batch.candidates_PP), -torch.inf)
        return functional.cross_entropy(scores_PP, torch.arange(len(batch.rows_P)))


class _ValidationMeasurement:
    """nDCG@10 of a module's scores on the validation queries."""

    def __init__(self, training_data: FusionTrainingData, widths: VectorWidths) -> None:
        assert training_data.products is not None
        self._packed = PackedTrainingData.of(training_data)
        rows, self._position_n = np.unique(self._packed.batch.rows_n, return_inverse=True)
        self._products = _tensors(product_arrays(training_data.products).rows(rows))
        self._queries = _tensors(_query_arrays(training_data, widths))

    def mean_ndcg(self, module: FeatureModule) -> float:
        """Mean over the queries with a relevant product."""
        module.eval()
        batch = self._packed.batch
        scores_n = np.empty(len(batch.rows_n), np.float32)
        with torch.inference_mode():
            queries, products = module.read_queries(self._queries), module.read_products(self._products)
            for g, (start, end) in enumerate(pairwise(batch.groups.offsets.tolist())):
                at = torch.from_numpy(self._position_n[start:end])
                query = MaskedTokens(queries.values[g : g + 1], queries.mask[g : g + 1])
                candidates = MaskedTokens(products.values[at].unsqueeze(0), products.mask[at].unsqueeze(0))
                scores_n[start:end] = module.compare(query, candidates)[0].numpy()
        fused = FusedBatch(kept_n=np.ones(len(scores_n), bool), batch=batch, fused_n=scores_n)
        return self._packed.mean_ndcg(fused, _CUTOFF)


def _query_arrays(training_data: FusionTrainingData, widths: VectorWidths) -> ModalityArrays:
    return query_arrays([candidates.query_vectors for candidates in training_data.candidates], widths)


def _tensors(arrays: ModalityArrays) -> ModalityTensors:
    return ModalityTensors(torch.from_numpy(arrays.text), torch.from_numpy(arrays.image), torch.from_numpy(arrays.has))


def _rate_share(step: int, num_steps: int) -> float:
    """Return the share of the peak rate: a linear warm-up, then half a cosine down to 0."""
    num_warmup = max(1, round(_WARMUP_SHARE * num_steps))
    if step < num_warmup:
        return (step + 1) / num_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))
