"""Learn projections of frozen text and image vectors into one space, from titles with their images and judged queries.

The image head is trained by titles only; judged queries never change it. So one index of images serves all text heads:
the one trained on all judged queries, and one per fold trained without that fold (see `encoders/aligned.py`).

Letters: B pairs of a batch, b of them on one worker, V images, E width of images, T of texts, W words of the longest
text, D aligned width, H text heads (titles only, all judged, then one per fold), K folds, N products, Q queries.

Source: InfoNCE in both directions as in Radford et al. 2021, arXiv:2103.00020, figure 3; frozen towers: Zhai et al.,
"LiT", CVPR 2022, arXiv:2111.07991.
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

_MEASURE_BATCH = 1024  # rows of a score matrix computed together; bounds memory

TITLES, ALL_JUDGED, FIRST_FOLD = 0, 1, 2
"""Numbers of the text heads. `TITLES` trains the image head and is measured; it does not serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig:
    """Shape of the heads, and their training pairs."""

    dim: int = setting("width of the aligned space", 256)
    temperature: float = setting(
        "cosines are divided by it before any softmax; smaller is sharper", 0.05, advanced=True
    )
    judged_share: float = setting(
        "share of an epoch's pairs that are judged queries with the image of a relevant product", 0.3, advanced=True
    )
    judged_weight: float = setting("weight of the loss of judged pairs; titles weigh 1", 1.0, advanced=True)
    num_folds: int = setting(
        "folds of the judged queries; one text head is trained without each fold; 0: no fold heads", 3
    )
    holdout_share: float = setting(
        "share of the products that are held out of training, to measure the alignment on", 0.1, advanced=True
    )
    min_texts: int = setting(
        "a word is learned when at least this many titles and queries contain it", 3, advanced=True
    )
    max_words: int = setting("largest number of learned words; the most frequent ones are kept", 20_000, advanced=True)

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
    """Titles or queries: their words, and the text encoder's unit vectors [N, T]."""

    words: Sequence[str]
    vectors_NT: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignTrainingData:
    """Training data of an alignment.

    Attributes:
        titles: titles of the N products that have an image.
        images_VE: unit vectors of all their images.
        owners_V: product number of each image.
        groups_N: equal for products with the same title or image; products of one group are never negatives of each
            other.
        held_out_N: products that are left out of training.
        queries: the judged train queries that have text.
        query_ids: ids of the queries; they decide the folds.
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
    """One linear head for images, H heads for texts."""

    def __init__(self, *, num_words: int, text_width: int, image_width: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.image = nn.Linear(image_width, dim)
        # zeros: a word that no text contains adds nothing
        self.words = nn.Parameter(torch.zeros(num_words, num_heads * dim))
        self.vector = nn.Linear(text_width, num_heads * dim)
        self.shape = (num_heads, dim)

    def forward(
        self, words_bW: torch.Tensor, weights_bW: torch.Tensor, texts_bT: torch.Tensor, images_bE: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Compute unit vectors: `texts` [b, H, D] and `images` [b, D].

        Args:
            words_bW: int64 [b, W], word numbers.
            weights_bW: float32 [b, W], weight of each word; 0 for padding.
            texts_bT: float32 [b, T].
            images_bE: float32 [b, E].
        """
        summed_bX = F.embedding_bag(words_bW, self.words, per_sample_weights=weights_bW, mode="sum")
        num_heads, dim = self.shape
        texts_XD = (summed_bX + self.vector(texts_bT)).reshape(-1, dim)
        return {"texts": unit_rows(texts_XD).reshape(-1, num_heads, dim), "images": unit_rows(self.image(images_bE))}


class AlignTask:
    """`TrainingTask` over pairs of a text and an image. The first pairs are titles with their own image, the others
    judged queries.

    Args:
        training_data: titles, images and judged queries.
        config: shape and shares.
        word_index: word to its number, from `frequent_words`.
        seed: draws the initial weights, the judged pairs, and which image of a product is shown.
    """

    def __init__(
        self, training_data: AlignTrainingData, config: AlignConfig, word_index: Mapping[str, int], *, seed: int
    ) -> None:
        self._training_data, self._config, self._seed = training_data, config, seed
        self._word_index = dict(word_index)
        self._by_owner = np.argsort(training_data.owners_V, kind="stable")
        self._first_of = np.searchsorted(
            training_data.owners_V[self._by_owner], np.arange(len(training_data.groups_N) + 1)
        )
        self._trained = np.flatnonzero(~training_data.held_out_N)
        self._queries, self._products = self._draw_judged()
        self._folds_Q = np.array(
            [fold_of(q, config.num_folds) if config.num_folds else -1 for q in training_data.query_ids], np.int64
        )
        self._bags = [
            word_bag(text, self._word_index) for text in (*training_data.titles.words, *training_data.queries.words)
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module: AlignModule = AlignModule(
                num_words=max(len(self._word_index), 1),
                text_width=training_data.titles.vectors_NT.shape[1],
                image_width=training_data.images_VE.shape[1],
                dim=config.dim,
                num_heads=1 if not len(self._queries) else FIRST_FOLD + config.num_folds,
            )

    @property
    def num_examples(self) -> int:
        """Pairs of an epoch."""
        return len(self._trained) + len(self._queries)

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Words (padded with number 0 and weight 0), text vectors and one image per pair.

        A product with several images shows another one at each step.
        """
        products_b, queries_b = self._pairs(rows_b)
        texts_b = np.where(queries_b >= 0, len(self._training_data.titles.words) + queries_b, products_b)
        bags = [self._bags[text] for text in texts_b]
        words_bW = np.zeros((len(bags), max(1, *(len(word_ids) for word_ids, _ in bags))), np.int64)
        weights_bW = np.zeros(words_bW.shape, np.float32)
        for row, (word_ids, weight) in enumerate(bags):
            words_bW[row, : len(word_ids)], weights_bW[row, : len(word_ids)] = word_ids, weight
        titles, queries = self._training_data.titles.vectors_NT, self._training_data.queries.vectors_NT
        texts_bT = titles[products_b]
        texts_bT[queries_b >= 0] = queries[queries_b[queries_b >= 0]]
        start_b, end_b = self._first_of[products_b], self._first_of[products_b + 1]
        shown_b = start_b + (rows_b * 31 + step) % (end_b - start_b)
        images_bE = self._training_data.images_VE[self._by_owner[shown_b]]
        arrays = {"words_bW": words_bW, "weights_bW": weights_bW, "texts_bT": texts_bT, "images_bE": images_bE}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """Mean over the heads of the InfoNCE losses of titles and judged queries."""
        products_B, queries_B = self._pairs(rows_B)
        is_title_B = queries_B < 0
        groups_B = self._training_data.groups_N[products_B]
        related_BB = groups_B[:, None] == groups_B[None, :]
        if not is_title_B.all():
            gains = self._training_data.gains_QN[np.maximum(queries_B, 0)][:, products_B].toarray() > 0
            related_BB = np.where(is_title_B[:, None], related_BB, gains)
        own_BB = torch.eye(len(rows_B))
        negatives_BB = torch.from_numpy(~related_BB) & ~own_BB.bool()
        titles_BB = own_BB * torch.from_numpy(is_title_B.astype(np.float32))[:, None]
        title_negatives_BB = negatives_BB & torch.from_numpy(is_title_B)
        losses = []
        for head in range(outputs["texts"].shape[1]):
            images_BD = outputs["images"] if head == TITLES else outputs["images"].detach()
            scores_BB = outputs["texts"][:, head] @ images_BD.T / self._config.temperature
            title_loss = info_nce(scores_BB, titles_BB, title_negatives_BB) + info_nce(
                scores_BB.T, titles_BB, title_negatives_BB
            )
            losses.append(title_loss / 2)
            if head != TITLES:
                used_B = torch.from_numpy((~is_title_B & self._is_used(queries_B, head)).astype(np.float32))
                losses[-1] = losses[-1] + self._config.judged_weight * info_nce(
                    scores_BB, own_BB * used_B[:, None], negatives_BB
                )
        return torch.stack(losses).mean()

    def measure(self) -> Mapping[str, float]:
        """Recall@1, recall@10 and MRR among the held-out products: title to image, and image to title."""
        held_out = np.flatnonzero(self._training_data.held_out_N)
        if len(held_out) < 2:
            return {}
        alignment = self.alignment(SpaceId(""), SpaceId(""), head=TITLES)
        images_ND = alignment.images(self._training_data.images_VE[self._by_owner[self._first_of[held_out]]])
        titles = self._training_data.titles
        texts_ND = np.stack([alignment.text(titles.words[n], titles.vectors_NT[n]) for n in held_out.tolist()])
        groups = self._training_data.groups_N[held_out]
        return {
            **{
                f"text_to_image_{name}": value for name, value in retrieval_metrics(texts_ND, images_ND, groups).items()
            },
            **{
                f"image_to_text_{name}": value for name, value in retrieval_metrics(images_ND, texts_ND, groups).items()
            },
        }

    def alignment(self, text_space: SpaceId, image_space: SpaceId, *, head: int | None = None) -> Alignment:
        """Export the trained heads: those that serve, or the one given by `head`."""
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
                word_ids=self._word_index,
                words_nHD=state["words"].reshape(-1, num_heads, dim)[: len(self._word_index), heads],
                vector_HTD=state["vector.weight"].reshape(num_heads, dim, text_width).transpose(0, 2, 1)[heads],
                bias_HD=state["vector.bias"].reshape(num_heads, dim)[heads],
            ),
        )

    def _draw_judged(self) -> tuple[Rows, Rows]:
        """Draw queries evenly, and for each query a product in proportion to its gain."""
        gains = self._training_data.gains_QN.multiply(~self._training_data.held_out_N[None, :]).tocsr()
        answered = np.flatnonzero(np.asarray(gains.sum(axis=1)).ravel() > 0)
        share = self._config.judged_share
        num = round(len(self._trained) * share / (1.0 - share)) if len(answered) else 0
        rng = np.random.default_rng((self._seed, len(answered)))
        queries = rng.choice(answered, num) if num else np.empty(0, np.int64)
        products = np.empty(num, np.int64)
        for query in np.unique(queries):
            start, end = gains.indptr[query], gains.indptr[query + 1]
            weights = gains.data[start:end] / gains.data[start:end].sum()
            positions = np.flatnonzero(queries == query)
            products[positions] = rng.choice(gains.indices[start:end], len(positions), p=weights)
        return queries.astype(np.int64), products

    def _pairs(self, rows: Rows) -> tuple[Rows, Rows]:
        """The product of each pair, and its query; -1 for a title."""
        judged = rows - len(self._trained)
        is_title = judged < 0
        if not len(self._queries):
            return self._trained[rows], np.full(len(rows), -1)
        positions = np.maximum(judged, 0)
        products = np.where(
            is_title, self._trained[np.minimum(rows, len(self._trained) - 1)], self._products[positions]
        )
        return products, np.where(is_title, -1, self._queries[positions])

    def _is_used(self, queries_B: Rows, head: int) -> NDArray[np.bool_]:
        """Which judged pairs train a head: all of them, or those outside the fold of the head."""
        if head == ALL_JUDGED:
            return np.ones(len(queries_B), np.bool_)
        return np.not_equal(self._folds_Q[np.maximum(queries_B, 0)], head - FIRST_FOLD)


def retrieval_metrics(
    queries_ND: NDArray[np.float32], targets_ND: NDArray[np.float32], groups_N: NDArray[np.int64]
) -> dict[str, float]:
    """Recall@1, recall@10 and mean reciprocal rank of each row's own counterpart among all rows.

    Args:
        queries_ND: unit vectors.
        targets_ND: unit vectors; row n is the counterpart of query n.
        groups_N: targets of the query's own group are ignored.
    """
    ranks_N = np.empty(len(queries_ND), np.int64)
    for start in range(0, len(queries_ND), _MEASURE_BATCH):
        rows = slice(start, start + _MEASURE_BATCH)
        scores_BN = queries_ND[rows] @ targets_ND.T
        own_B1 = scores_BN[np.arange(len(scores_BN)), start + np.arange(len(scores_BN))][:, None]
        ranks_N[rows] = 1 + ((scores_BN >= own_B1) & (groups_N[rows, None] != groups_N[None, :])).sum(axis=1)
    return {
        "r@1": float((ranks_N == 1).mean()),
        "r@10": float((ranks_N <= 10).mean()),
        "mrr": float((1.0 / ranks_N).mean()),
    }
