"""Words and pictures learn to meet, over frozen encoders: titles with their own pictures, and judged queries with relevant ones.

Pictures are moved by what titles teach alone: their head sees no judgment. So one index of pictures serves all text heads, the one that
learned from every judged query and those that left out a fold each (see `encoders/aligned.py`).

Letters: B pairs of a batch, b of them on one worker, E width of pictures, T of texts, W words of the longest text, D aligned width,
H text heads: titles only, all judged, then one per fold; K folds, N products.

Source: InfoNCE in both directions as in Radford et al. 2021, arXiv:2103.00020, figure 3; frozen towers: Zhai et al., "LiT", CVPR 2022,
arXiv:2111.07991.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import nn

from intarsia.config import check_range, setting
from intarsia.encoders.aligned import Alignment, TextHeads, word_bag
from intarsia.encoders.pooling import unit_rows
from intarsia.ids import SpaceId, fold_of
from intarsia.training.losses import info_nce
from intarsia.training.process_group import full_tensor
from intarsia.training.task import Rows, Tensors

_MEASURED_AT_ONCE = 1024  # held-out products that are compared with all others together: bounds memory

TITLES, ALL_JUDGED, FIRST_FOLD = 0, 1, 2
"""Heads by number. `TITLES` shapes the pictures and is measured; it does not serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig:
    """The shape of the heads and what they are shown."""

    dim: int = setting("width of the aligned space", 256)
    temperature: float = setting("cosines are divided by it before any softmax; small sharpens", 0.05)
    judged_share: float = setting(
        "share of an epoch's pairs that are judged queries with a relevant product's picture", 0.3
    )
    judged_weight: float = setting("weight of their loss beside that of the titles", 1.0)
    num_folds: int = setting("parts of the judged queries that are left out in turn; 0 trains no heads for them", 3)
    holdout_share: float = setting("share of products that teach nothing, on which the meeting is measured", 0.1)
    min_texts: int = setting("products and queries that must say a word before it is learned", 3)
    max_words: int = setting("words that are learned at most, the most frequent first", 20_000)

    def __post_init__(self) -> None:
        check_range(self, "dim", "min_texts", "max_words", low=1)
        check_range(self, "judged_weight", low=0.0)
        check_range(self, "judged_share", "holdout_share", low=0.0, high=0.9)
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; allowed: above 0")
        if self.num_folds == 1 or self.num_folds < 0:
            raise ValueError(f"num_folds is {self.num_folds}; allowed: 0, or 2 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedTexts:
    """Titles or queries: the words, the encoder's unit vector of each [N, T]."""

    words: Sequence[str]
    vectors_NT: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignTrainingData:
    """What can be learned from.

    Attributes:
        titles: of the products with a picture.
        pictures_VE: unit vectors of all their pictures.
        owners_V: which of these products a picture belongs to.
        groups_N: equal for products that show or say the same; they are no negatives of each other.
        held_out_N: products that teach nothing.
        queries: the judged train queries with words.
        query_ids: their ids, which decide their folds.
        gains_QN: 2^grade - 1 of each judged pair.
    """

    titles: EncodedTexts
    images_VE: NDArray[np.float32]
    owners_V: NDArray[np.int64]
    groups_N: NDArray[np.int64]
    held_out_N: NDArray[np.bool_]
    queries: EncodedTexts
    query_ids: Sequence[str]
    gains_QN: csr_matrix


class AlignModule(nn.Module):
    """One head for pictures, H for texts."""

    def __init__(self, *, num_words: int, text_width: int, image_width: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.image = nn.Linear(image_width, dim)
        self.words = nn.Parameter(torch.zeros(num_words, num_heads * dim))  # what was never seen adds nothing
        self.vector = nn.Linear(text_width, num_heads * dim)
        self.shape = (num_heads, dim)

    def forward(
        self, words_bW: torch.Tensor, weights_bW: torch.Tensor, texts_bT: torch.Tensor, images_bE: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Unit vectors `texts` [b, H, D] and `pictures` [b, D]."""
        summed_bX = F.embedding_bag(words_bW, self.words, per_sample_weights=weights_bW, mode="sum")
        num_heads, dim = self.shape
        texts_XD = (summed_bX + self.vector(texts_bT)).reshape(-1, dim)
        return {"texts": unit_rows(texts_XD).reshape(-1, num_heads, dim), "pictures": unit_rows(self.image(images_bE))}


class AlignTask:
    """`Learner` over pairs of a text and a picture; the first pairs are titles with their own picture, the others judged.

    Args:
        lessons: what is learned from.
        config: shape and shares.
        places: word -> place, of `frequent_words`.
        seed: draws the start, the judged pairs and which picture of a product is shown.
    """

    def __init__(
        self, training_data: AlignTrainingData, config: AlignConfig, places: Mapping[str, int], *, seed: int
    ) -> None:
        self._training_data, self._config, self._seed = training_data, config, seed
        self._places = dict(places)
        self._by_owner = np.argsort(training_data.owners_V, kind="stable")
        self._first_of = np.searchsorted(
            training_data.owners_V[self._by_owner], np.arange(len(training_data.groups_N) + 1)
        )
        self._learned = np.flatnonzero(~training_data.held_out_N)
        self._queries, self._products = self._draw_judged()
        self._folds_Q = np.array(
            [fold_of(q, config.num_folds) if config.num_folds else -1 for q in training_data.query_ids], np.int64
        )
        self._bags = [
            word_bag(text, self._places) for text in (*training_data.titles.words, *training_data.queries.words)
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module: AlignModule = AlignModule(
                num_words=max(len(self._places), 1),
                text_width=training_data.titles.vectors_NT.shape[1],
                image_width=training_data.images_VE.shape[1],
                dim=config.dim,
                num_heads=1 if not len(self._queries) else FIRST_FOLD + config.num_folds,
            )

    @property
    def num_examples(self) -> int:
        """Pairs of an epoch."""
        return len(self._learned) + len(self._queries)

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Words (padded with place 0 and weight 0), text vectors and one picture of each pair; of several, one that depends on the step."""
        products_b, queries_b = self._pairs(rows_b)
        texts_b = np.where(queries_b >= 0, len(self._training_data.titles.words) + queries_b, products_b)
        bags = [self._bags[text] for text in texts_b]
        words_bW = np.zeros((len(bags), max(1, *(len(places) for places, _ in bags))), np.int64)
        weights_bW = np.zeros(words_bW.shape, np.float32)
        for row, (places, weight) in enumerate(bags):
            words_bW[row, : len(places)], weights_bW[row, : len(places)] = places, weight
        titles, queries = self._training_data.titles.vectors_NT, self._training_data.queries.vectors_NT
        texts_bT = titles[products_b]
        texts_bT[queries_b >= 0] = queries[queries_b[queries_b >= 0]]
        first_b, past_b = self._first_of[products_b], self._first_of[products_b + 1]
        shown_b = first_b + (rows_b * 31 + step) % (past_b - first_b)
        images_bE = self._training_data.images_VE[self._by_owner[shown_b]]
        named = {"words_bW": words_bW, "weights_bW": weights_bW, "texts_bT": texts_bT, "images_bE": images_bE}
        return {name: torch.from_numpy(array) for name, array in named.items()}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """The mean over heads of what each is asked."""
        products_B, queries_B = self._pairs(rows_B)
        is_title_B = queries_B < 0
        groups_B = self._training_data.groups_N[products_B]
        related_BB = groups_B[:, None] == groups_B[None, :]
        if not is_title_B.all():
            gains = self._training_data.gains_QN[np.maximum(queries_B, 0)][:, products_B].toarray() > 0
            related_BB = np.where(is_title_B[:, None], related_BB, gains)
        own_BB = torch.eye(len(rows_B))
        apart_BB = torch.from_numpy(~related_BB) & ~own_BB.bool()
        titles_BB = own_BB * torch.from_numpy(is_title_B.astype(np.float32))[:, None]
        told_BB = apart_BB & torch.from_numpy(is_title_B)
        losses = []
        for head in range(outputs["texts"].shape[1]):
            images_BD = outputs["pictures"] if head == TITLES else outputs["pictures"].detach()
            scores_BB = outputs["texts"][:, head] @ images_BD.T / self._config.temperature
            told = info_nce(scores_BB, titles_BB, told_BB) + info_nce(scores_BB.T, titles_BB, told_BB)
            losses.append(told / 2)
            if head != TITLES:
                may_B = torch.from_numpy((~is_title_B & self._may_teach(queries_B, head)).astype(np.float32))
                losses[-1] = losses[-1] + self._config.judged_weight * info_nce(
                    scores_BB, own_BB * may_B[:, None], apart_BB
                )
        return torch.stack(losses).mean()

    def measure(self) -> Mapping[str, float]:
        """How often a held-out product's title finds its picture, and the other way round, among all held-out products."""
        held = np.flatnonzero(self._training_data.held_out_N)
        if len(held) < 2:
            return {}
        alignment = self.alignment(SpaceId(""), SpaceId(""), head=TITLES)
        images_ND = alignment.images(self._training_data.images_VE[self._by_owner[self._first_of[held]]])
        titles = self._training_data.titles
        texts_ND = np.stack([alignment.text(titles.words[n], titles.vectors_NT[n]) for n in held.tolist()])
        groups = self._training_data.groups_N[held]
        return {
            **{
                f"text_to_image_{name}": value for name, value in retrieval_metrics(texts_ND, images_ND, groups).items()
            },
            **{
                f"image_to_text_{name}": value for name, value in retrieval_metrics(images_ND, texts_ND, groups).items()
            },
        }

    def alignment(self, text_space: SpaceId, image_space: SpaceId, *, head: int | None = None) -> Alignment:
        """What was learned: the heads that serve, or one head alone."""
        num_heads, dim = self.module.shape
        chosen = list(range(num_heads))[ALL_JUDGED:] or [TITLES]
        heads = chosen if head is None else [head]
        state = {
            name: full_tensor(tensor).numpy().astype(np.float32) for name, tensor in self.module.state_dict().items()
        }
        text_width = state["vector.weight"].shape[1]
        return Alignment(
            text_space=text_space,
            image_space=image_space,
            image_ED=np.ascontiguousarray(state["image.weight"].T),
            image_bias_D=state["image.bias"],
            heads=TextHeads(
                places=self._places,
                words_nHD=state["words"].reshape(-1, num_heads, dim)[: len(self._places), heads],
                vector_HTD=state["vector.weight"].reshape(num_heads, dim, text_width).transpose(0, 2, 1)[heads],
                bias_HD=state["vector.bias"].reshape(num_heads, dim)[heads],
            ),
        )

    def _draw_judged(self) -> tuple[Rows, Rows]:
        """Queries drawn evenly, for each a product in proportion to its gain."""
        gains = self._training_data.gains_QN.multiply(~self._training_data.held_out_N[None, :]).tocsr()
        answered = np.flatnonzero(np.asarray(gains.sum(axis=1)).ravel() > 0)
        share = self._config.judged_share
        num = round(len(self._learned) * share / (1.0 - share)) if len(answered) else 0
        rng = np.random.default_rng((self._seed, len(answered)))
        queries = rng.choice(answered, num) if num else np.empty(0, np.int64)
        products = np.empty(num, np.int64)
        for query in np.unique(queries):
            start, end = gains.indptr[query], gains.indptr[query + 1]
            weights = gains.data[start:end] / gains.data[start:end].sum()
            at = np.flatnonzero(queries == query)
            products[at] = rng.choice(gains.indices[start:end], len(at), p=weights)
        return queries.astype(np.int64), products

    def _pairs(self, rows: Rows) -> tuple[Rows, Rows]:
        """The product of each pair, and its query, -1 for a title."""
        judged = rows - len(self._learned)
        is_title = judged < 0
        if not len(self._queries):
            return self._learned[rows], np.full(len(rows), -1)
        at = np.maximum(judged, 0)
        products = np.where(is_title, self._learned[np.minimum(rows, len(self._learned) - 1)], self._products[at])
        return products, np.where(is_title, -1, self._queries[at])

    def _may_teach(self, queries_B: Rows, head: int) -> NDArray[np.bool_]:
        """All queries teach the head that serves, those of the other folds a fold's head."""
        if head == ALL_JUDGED:
            return np.ones(len(queries_B), np.bool_)
        return np.not_equal(self._folds_Q[np.maximum(queries_B, 0)], head - FIRST_FOLD)


def retrieval_metrics(
    asked_ND: NDArray[np.float32], found_ND: NDArray[np.float32], groups_N: NDArray[np.int64]
) -> dict[str, float]:
    """R@1, R@10 and the mean reciprocal rank of each item's own counterpart among all; those of its group do not stand before it."""
    ranks_N = np.empty(len(asked_ND), np.int64)
    for start in range(0, len(asked_ND), _MEASURED_AT_ONCE):
        part = slice(start, start + _MEASURED_AT_ONCE)
        scores_BN = asked_ND[part] @ found_ND.T
        own_B1 = scores_BN[np.arange(len(scores_BN)), start + np.arange(len(scores_BN))][:, None]
        ranks_N[part] = 1 + ((scores_BN >= own_B1) & (groups_N[part, None] != groups_N[None, :])).sum(axis=1)
    return {
        "r@1": float((ranks_N == 1).mean()),
        "r@10": float((ranks_N <= 10).mean()),
        "mrr": float((1.0 / ranks_N).mean()),
    }
