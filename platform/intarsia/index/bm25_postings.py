"""From the tokens of a catalog, batch by batch and in any order, to postings with BM25F impacts; `bm25.py` searches and keeps them.

Letters: N products, T distinct tokens, P postings, B products of one batch.

What one token is worth in one product (its impact) depends on the catalog alone, so it is computed once, here:

    tf~    = sum over fields of weight_f * tf_f / (1 - b + b * length_f / mean_length_f)
    impact = idf * (k1 + 1) * tf~ / (k1 + tf~)            idf = ln(1 + (N - df + 0.5) / (df + 0.5)) > 0

Term frequency is weighted before it saturates: a word in title and description is not counted twice at full worth.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3.6. doi:10.1561/1500000019
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intarsia.config import setting
from intarsia.records.product_columns import WORD_FIELDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Bm25Config:
    """How words are weighed."""

    k1: float = setting("how slowly repeated words saturate; 0 counts presence only", 1.0)
    b: float = setting("how much long fields are discounted, 0 (not) to 1 (in full proportion)", 0.3)
    weights: Mapping[str, float] = setting(
        f"field -> worth of a word in it, above 0; a field that is not named is not searched. Fields: {', '.join(WORD_FIELDS)}",
        factory=lambda: {"title": 1.0, "description": 0.3, "attributes": 0.6, "brand": 0.6, "category": 0.6},
    )

    def __post_init__(self) -> None:
        if self.k1 < 0:
            raise ValueError(f"k1 is {self.k1}; allowed: 0 or more")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b is {self.b}; allowed: 0..1")
        if not self.weights:
            raise ValueError("weights names no field, so nothing could be found; name at least title")
        for name, weight in self.weights.items():
            if name not in WORD_FIELDS:
                raise ValueError(f"weights names field {name!r}; allowed: {', '.join(WORD_FIELDS)}")
            if not weight > 0:
                raise ValueError(f"weight of {name} is {weight}; allowed: above 0, or leave the field out")


class Postings(NamedTuple):
    """What products hold each token, and what it is worth there.

    `tokens` are sorted, a token's place is its code; the postings of code t are `offsets[t]:offsets[t + 1]`, rows ascending.
    """

    tokens: list[str]
    offsets: NDArray[np.int64]  # [T + 1]
    rows: NDArray[np.int32]  # [P]
    impacts: NDArray[np.float32]  # [P], above 0


class PostingsBuilder:
    """Takes tokens, keeps counts (12 bytes per token and product), gives postings; the order of batches does not change a bit."""

    def __init__(self, config: Bm25Config, num_rows: int) -> None:
        self._config = config
        self._num_rows = num_rows
        self._codes: dict[str, int] = {}  # token -> code in order of arrival; `finish` renumbers
        self._lengths = {name: np.zeros(num_rows, np.int64) for name in config.weights}
        self._counts: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int32]]]] = {n: [] for n in config.weights}

    def add(self, rows_B: NDArray[np.int64], tokens: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """Take the tokens of some products.

        Args:
            rows_B: their rows; each row is given once over all batches.
            tokens: field -> the tokens of each product of the batch; a searched field may be absent (no tokens).
        """
        assert not (unknown := set(tokens) - set(self._config.weights)), f"fields without a weight: {unknown}"
        for name, tokens_B in tokens.items():
            assert len(tokens_B) == len(rows_B)
            lengths_B = np.array([len(found) for found in tokens_B], np.int64)
            self._lengths[name][rows_B] += lengths_B
            codes = self._codes
            flat = np.fromiter(
                (codes.setdefault(token, len(codes)) for found in tokens_B for token in found),
                np.int64,
                count=int(lengths_B.sum()),
            )
            keys, counts = np.unique(flat * self._num_rows + np.repeat(rows_B, lengths_B), return_counts=True)
            self._counts[name].append((keys, counts.astype(np.int32)))

    def finish(self) -> Postings:
        """The postings of everything that was added; call it once."""
        keys, frequencies = self._weighted_frequencies()
        tokens = sorted(self._codes)
        renumbered = np.empty(len(tokens), np.int64)
        renumbered[[self._codes[token] for token in tokens]] = np.arange(len(tokens))
        codes, rows = renumbered[keys // self._num_rows], keys % self._num_rows
        order = np.argsort(codes * self._num_rows + rows)  # keys are unique: any sort gives the same order
        codes, rows, frequencies = codes[order], rows[order], frequencies[order]
        num_products_of = np.bincount(codes, minlength=len(tokens))
        idf = np.log1p((self._num_rows - num_products_of + 0.5) / (num_products_of + 0.5))
        k1 = self._config.k1
        return Postings(
            tokens=tokens,
            offsets=np.concatenate([[0], np.cumsum(num_products_of)]).astype(np.int64),
            rows=rows.astype(np.int32),
            impacts=(idf[codes] * (k1 + 1) * frequencies / (k1 + frequencies)).astype(np.float32),
        )

    def _weighted_frequencies(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Unique keys (code x N + row), ascending, with their tf~ summed over fields in the order of the config's weights."""
        all_keys, all_parts = [np.empty(0, np.int64)], [np.empty(0, np.float64)]
        for name, weight in self._config.weights.items():
            discount_N = self._length_discount(self._lengths[name])
            for keys, counts in self._counts.pop(name):
                all_keys.append(keys)
                all_parts.append(weight * counts / discount_N[keys % self._num_rows])
        keys, parts = np.concatenate(all_keys), np.concatenate(all_parts)
        order = np.argsort(keys, kind="stable")  # keeps the order of fields within a key, so the sum has the same bits
        keys, parts = keys[order], parts[order]
        if not len(keys):
            return keys, parts
        firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        return keys[firsts], np.add.reduceat(parts, firsts)

    def _length_discount(self, lengths_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """1 - b + b * length / mean length; the mean is over the products that have the field, so that few long ones are not punished."""
        filled = lengths_N[lengths_N > 0]
        mean = filled.mean() if len(filled) else 1.0
        b = self._config.b
        return np.asarray(1 - b + b * lengths_N / mean)
