"""Fits a kind of feature fusion: judged lists and products' own parts, a step at a time; the best look at the validation queries is kept.

It runs in one process: the vectors are there already, what is learned is small. Letters: G queries, L candidates, P products.
"""

from __future__ import annotations

import copy
import math
import time
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional

from intarsia.errors import ConfigError
from intarsia.fusion.feature.arrays import Arrays, product_arrays, query_arrays, query_spaces
from intarsia.fusion.feature.config import JointConfig, JointKind
from intarsia.fusion.feature.export import export_joint
from intarsia.fusion.feature.initialisation import start_projections
from intarsia.fusion.feature.kinds import KINDS
from intarsia.fusion.feature.module import Dims, JointModule, Side, Tokens
from intarsia.fusion.feature.sampling import JudgedLists, JudgedStep, OwnProducts, ProductStep, hide
from intarsia.fusion.feature.scorer import CURVE, FIT_S, SPACES, JointScorer
from intarsia.fusion.fuser import FusedBatch
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.training_data import PackedTrainingData, check_training_data

_WARMUP_SHARE = 0.1
_MAX_GRADIENT = 1.0  # norm; a first step of a fresh head is else a jump
_CUTOFF = 10

_NOWHERE = -1e30  # a score that no softmax sees; of -inf, 0 x -inf is no number


def fit_joint(
    kind: JointKind,
    train: FusionTrainingData,
    validation: FusionTrainingData,
    config: JointConfig | None = None,
    seed: int = 0,
) -> JointScorer:
    """A fitted kind of feature fusion, exported for serving; equal inputs give equal scorers.

    Args:
        kind: one of `KINDS`.
        train: judged queries it learns from, with the products' vectors.
        validation: judged queries that say when it was best; they do not move the weights.
        config: how; None means the defaults.
        seed: of everything random.

    Raises:
        ConfigError: the lessons have no product vectors.
        DataError: no candidate of the train queries is relevant.
        ReleaseMismatch: a query vector is not as wide as the products' of its modality, or queries are of several spaces.
    """
    started_s = time.perf_counter()
    config = config or JointConfig()
    fit = _Fit(kind, train, validation, config, seed)
    spaces = query_spaces(one.query_vectors for one in train.candidates)
    notes = {CURVE: fit.run(), SPACES: spaces, FIT_S: time.perf_counter() - started_s}
    return export_joint(kind, fit.module, fit.dims, notes)


class _Fit:
    def __init__(
        self, kind: JointKind, train: FusionTrainingData, validation: FusionTrainingData, config: JointConfig, seed: int
    ) -> None:
        if train.products is None or validation.products is None:
            raise ConfigError(f"feature fusion {kind} compares vectors of products; lessons.products is None")
        check_training_data("train", train)
        self.config, self.rng = config, np.random.default_rng(seed)
        self.products = product_arrays(train.products)
        self.dims = Dims(self.products.text.shape[1], self.products.image.shape[1])
        self.queries = _query_arrays(train, self.dims)
        self.validation = validation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = KINDS[kind](self.dims, config)
            self.torch_state = torch.get_rng_state()
        text_DH, image_EH = start_projections(self.products, config.width, self.rng)
        self.module.start_from(torch.from_numpy(text_DH).float(), torch.from_numpy(image_EH).float())
        self.lists = JudgedLists(train, self.rng)
        self.own = OwnProducts(self.products, self.rng)

    def run(self) -> list[tuple[int, float]]:
        """Learn; the module is then as it was at its best look. Returns (step, validation nDCG@10) of each look."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.torch_state)
            return self._learn()

    def _learn(self) -> list[tuple[int, float]]:
        config, module = self.config, self.module
        optimiser = torch.optim.AdamW(module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config.num_steps))
        look = _Look(self.validation, self.dims)
        curve = [(0, look.at(module))]
        best = copy.deepcopy(module.state_dict())
        for step in range(1, config.num_steps + 1):
            module.train()
            optimiser.zero_grad()
            self._loss().backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), _MAX_GRADIENT)
            optimiser.step()
            schedule.step()
            if step % config.measure_every == 0 or step == config.num_steps:
                curve.append((step, look.at(module)))
                if curve[-1][1] > max(ndcg for _, ndcg in curve[:-1]):
                    best = copy.deepcopy(module.state_dict())
        module.load_state_dict(best)
        module.eval()
        return curve

    def _loss(self) -> torch.Tensor:
        config = self.config
        loss = self._judged_loss(self.lists.draw(config.queries_per_step, config.candidates_per_query))
        if not (config.products_weight or config.own_weight):
            return loss
        step = self.own.draw(config.products_per_step, config.modality_dropout)
        if config.products_weight and len(step.rows_P) > 1:
            loss = loss + config.products_weight * self._products_loss(step)
        if config.own_weight:
            loss = loss + config.own_weight * self.module.own_loss(_side(self.products.rows(step.rows_P)))
        return loss

    def _judged_loss(self, step: JudgedStep) -> torch.Tensor:
        """ListNet: cross-entropy of softmax(scores) against each candidate's share of its list's gain.

        Source: Cao et al., ICML 2007, eq. 5-6 (top one). doi:10.1145/1273496.1273513
        """
        products, queries = self.products.rows(step.rows_GL), self.queries.rows(step.queries_G)
        hidden = self.config.modality_dropout
        products = products._replace(has=hide(products.has, hidden, self.rng))
        queries = queries._replace(has=hide(queries.has, hidden, self.rng))
        scores_GL = self.module.compare(
            self.module.read_queries(_side(queries)), self.module.read_products(_side(products))
        )
        scores_GL = scores_GL.masked_fill(~torch.from_numpy(step.filled_GL), _NOWHERE)
        shares_GL = torch.from_numpy(step.gains_GL / step.gains_GL.sum(axis=1, keepdims=True))
        return functional.cross_entropy(scores_GL, shares_GL)

    def _products_loss(self, step: ProductStep) -> torch.Tensor:
        """InfoNCE: each product is asked for by its own text, picture or both, among the products of the step."""
        own = self.products.rows(step.rows_P)
        queries = self.module.read_queries(_side(own._replace(has=step.asked_has_P2)))
        found = self.module.read_products(_side(own._replace(has=step.found_has_P2)))
        scores_PP = self.module.compare(queries, Tokens(found.values.unsqueeze(0), found.there.unsqueeze(0)))
        scores_PP = scores_PP.masked_fill(~torch.from_numpy(step.candidates_PP), -torch.inf)
        return functional.cross_entropy(scores_PP, torch.arange(len(step.rows_P)))


class _Look:
    """nDCG@10 on validation queries, by these scores alone."""

    def __init__(self, training_data: FusionTrainingData, dims: Dims) -> None:
        assert training_data.products is not None
        self._packed = PackedTrainingData.of(training_data)
        rows, self._places = np.unique(self._packed.batch.rows_n, return_inverse=True)
        self._products = _side(product_arrays(training_data.products).rows(rows))
        self._queries = _side(_query_arrays(training_data, dims))

    def at(self, module: JointModule) -> float:
        """The mean over the queries with something relevant."""
        module.eval()
        batch = self._packed.batch
        scores_n = np.empty(len(batch.rows_n), np.float32)
        with torch.inference_mode():
            queries, products = module.read_queries(self._queries), module.read_products(self._products)
            for g, (start, end) in enumerate(pairwise(batch.groups.offsets.tolist())):
                at = torch.from_numpy(self._places[start:end])
                asked = Tokens(queries.values[g : g + 1], queries.there[g : g + 1])
                found = Tokens(products.values[at].unsqueeze(0), products.there[at].unsqueeze(0))
                scores_n[start:end] = module.compare(asked, found)[0].numpy()
        fused = FusedBatch(kept_n=np.ones(len(scores_n), bool), batch=batch, fused_n=scores_n)
        return self._packed.mean_ndcg(fused, _CUTOFF)


def _query_arrays(training_data: FusionTrainingData, dims: Dims) -> Arrays:
    return query_arrays([one.query_vectors for one in training_data.candidates], dims)


def _side(arrays: Arrays) -> Side:
    return Side(torch.from_numpy(arrays.text), torch.from_numpy(arrays.image), torch.from_numpy(arrays.has))


def _rate(step: int, num_steps: int) -> float:
    """Share of the peak rate: up in a straight line, then down along half a cosine."""
    num_warmup = max(1, round(_WARMUP_SHARE * num_steps))
    if step < num_warmup:
        return (step + 1) / num_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))
