"""Lexical search: BM25F over the fields of a product, exact over the whole catalog, in NumPy.

Letters: N products, T distinct tokens, P postings, B products of one batch.

The score of a product is the sum over the query's tokens of (count in the query) * impact. The impact of a token in a
product depends on the catalog only, so it is computed once, when the index is built:

    tf~    = sum over fields of weight_f * tf_f / (1 - b + b * length_f / mean_length_f)
    impact = idf * (k1 + 1) * tf~ / (k1 + tf~)            idf = ln(1 + (N - df + 0.5) / (df + 0.5)) > 0

Term frequencies are weighted and summed before they saturate, so a word in title and description does not count twice
in full. Scores are complete, not a top list, because match sets, facets and features need the score of any product.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3.6.
doi:10.1561/1500000019
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intarsia import text
from intarsia.config import setting, to_jsonable
from intarsia.errors import ArtifactError
from intarsia.index.header import open_array, read_header, write_header
from intarsia.index.top_k import top_k
from intarsia.maths.arrays import Bools, Float32s, Floats, Ints
from intarsia.records.product_columns import WORD_FIELDS

_FORMAT = "bm25/1"
_VOCABULARY = "vocabulary.arrow"
_ARRAYS = ("offsets", "rows", "impacts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bm25Config:
    """Settings of lexical search."""

    k1: float = setting("saturation of repeated words; 0 counts presence only", 1.0, advanced=True)
    b: float = setting("length normalisation of fields, 0 (none) to 1 (full)", 0.3, advanced=True)
    weights: Mapping[str, float] = setting(
        f"field -> weight of its words, above 0; other fields are not searched. Fields: {', '.join(WORD_FIELDS)}",
        factory=lambda: {"title": 1.0, "description": 0.3, "attributes": 0.6, "brand": 0.6, "category": 0.6},
    )

    def __post_init__(self) -> None:
        if self.k1 < 0:
            raise ValueError(f"k1 is {self.k1}; allowed: 0 or more")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b is {self.b}; allowed: 0..1")
        if not self.weights:
            raise ValueError("weights is empty; allowed: one or more fields, for example title")
        for name, weight in self.weights.items():
            if name not in WORD_FIELDS:
                raise ValueError(f"weights has field {name!r}; allowed: {', '.join(WORD_FIELDS)}")
            if not weight > 0:
                raise ValueError(f"weight of {name} is {weight}; allowed: above 0, or leave the field out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bm25Index:
    """Postings of every token, with their impacts.

    Attributes:
        config: settings the impacts were computed with.
        num_rows: N.
        vocabulary: token -> code, codes follow the sorted tokens.
        offsets: int64 [T + 1]; the postings of code t are offsets[t]:offsets[t + 1].
        rows: int32 [P], ascending within a token.
        impacts: float32 [P], above 0.
    """

    config: Bm25Config
    num_rows: int
    vocabulary: Mapping[str, int]
    offsets: Ints
    rows: NDArray[np.int32]
    impacts: Float32s

    @classmethod
    def build(cls, config: Bm25Config, fields: Mapping[str, Sequence[str]]) -> Bm25Index:
        """Index texts in memory.

        Args:
            config: settings.
            fields: field -> one text per product, empty if it has none.

        >>> index = Bm25Index.build(Bm25Config(), {"title": ["red shoes", "blue shoes", "red wine"]})
        >>> index.search("red shoe", k=2)[0].tolist()
        [0, 1]
        """
        num_rows = len(next(iter(fields.values())))
        builder = PostingsBuilder(config, num_rows)
        searched = [name for name in fields if name in config.weights]
        builder.add(np.arange(num_rows), {name: [text.tokens(t) for t in fields[name]] for name in searched})
        return cls.of(config, num_rows, builder.finish())

    @classmethod
    def of(cls, config: Bm25Config, num_rows: int, postings: Postings) -> Bm25Index:
        """Index finished postings."""
        return cls(
            config=config,
            num_rows=num_rows,
            vocabulary={token: code for code, token in enumerate(postings.tokens)},
            offsets=postings.offsets,
            rows=postings.rows,
            impacts=postings.impacts,
        )

    def scores(self, query: str) -> Float32s:
        """float32 [N]: score of every product, 0 without any token of the query. The order of words changes no bit."""
        counts = Counter(text.tokens(query))
        terms = sorted((self.vocabulary[token], count) for token, count in counts.items() if token in self.vocabulary)
        if not terms:
            return np.zeros(self.num_rows, np.float32)
        spans = [slice(self.offsets[code], self.offsets[code + 1]) for code, _ in terms]
        rows = np.concatenate([self.rows[span] for span in spans])
        impacts = np.concatenate(
            [self.impacts[span] * np.float32(count) for span, (_, count) in zip(spans, terms, strict=True)]
        )
        return np.bincount(rows, weights=impacts, minlength=self.num_rows).astype(np.float32)

    def search(self, query: str, k: int, allowed_N: Bools | None = None) -> tuple[Ints, Float32s]:
        """(rows, scores) of the k best matching products among the allowed ones, best first, ties by smaller row."""
        scores_N = self.scores(query)
        matching_N = scores_N > 0
        rows = top_k(scores_N, k, matching_N if allowed_N is None else matching_N & allowed_N)
        return rows, scores_N[rows]

    def save(self, folder: Path) -> None:
        """Write the index into a folder, `index.json` last."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        table = pa.table({"token": pa.array(list(self.vocabulary), pa.string())})
        with pa.OSFile(str(folder / _VOCABULARY), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        facts = {
            "num_rows": self.num_rows,
            "num_tokens": len(self.vocabulary),
            "num_postings": len(self.rows),
            "params": to_jsonable(self.config),
        }
        write_header(folder, _FORMAT, facts)

    @classmethod
    def open(cls, folder: Path) -> Bm25Index:
        """Open an index: postings are memory-mapped, the vocabulary is read.

        Raises:
            ArtifactError: the folder is torn or has another format version.
        """
        facts = read_header(folder, _FORMAT)
        with pa.memory_map(str(folder / _VOCABULARY)) as source:
            tokens = pa.ipc.open_file(source).read_all()["token"].to_pylist()
        arrays = {name: open_array(folder / f"{name}.npy") for name in _ARRAYS}
        if len(arrays["offsets"]) != len(tokens) + 1 or arrays["offsets"][-1] != len(arrays["rows"]):
            raise ArtifactError(
                f"{folder}: the vocabulary has {len(tokens)} tokens, the postings {len(arrays['offsets']) - 1}: "
                "the files are of two builds. Fix: run build_indexes again"
            )
        params = facts["params"]
        config = Bm25Config(k1=params["k1"], b=params["b"], weights=params["weights"])
        return cls.of(config, facts["num_rows"], Postings(tokens, **arrays))


class Postings(NamedTuple):
    """The products that contain each token, with impacts.

    `tokens` are sorted; the position of a token is its code. The postings of code t are `offsets[t]:offsets[t + 1]`,
    rows ascending.
    """

    tokens: list[str]
    offsets: Ints  # [T + 1]
    rows: NDArray[np.int32]  # [P]
    impacts: Float32s  # [P], above 0


class PostingsBuilder:
    """Builds postings from batches of tokens, in any order; it keeps 12 bytes per distinct token of a product."""

    def __init__(self, config: Bm25Config, num_rows: int) -> None:
        self._config = config
        self._num_rows = num_rows
        self._codes: dict[str, int] = {}  # token -> code in the order of first appearance; `finish` renumbers
        self._lengths = {name: np.zeros(num_rows, np.int64) for name in config.weights}
        self._counts: dict[str, list[tuple[Ints, NDArray[np.int32]]]] = {n: [] for n in config.weights}

    def add(self, rows_B: Ints, tokens: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """Add the tokens of a batch of products.

        Args:
            rows_B: their rows; each row may be added once.
            tokens: field -> tokens of each product of the batch; a field may be missing.
        """
        assert not (unknown := set(tokens) - set(self._config.weights)), f"fields without a weight: {unknown}"
        for name, tokens_B in tokens.items():
            assert len(tokens_B) == len(rows_B)
            lengths_B = np.array([len(of_product) for of_product in tokens_B], np.int64)
            self._lengths[name][rows_B] += lengths_B
            codes = self._codes
            flat = np.fromiter(
                (codes.setdefault(token, len(codes)) for of_product in tokens_B for token in of_product),
                np.int64,
                count=int(lengths_B.sum()),
            )
            keys, counts = np.unique(flat * self._num_rows + np.repeat(rows_B, lengths_B), return_counts=True)
            self._counts[name].append((keys, counts.astype(np.int32)))

    def finish(self) -> Postings:
        """The postings of all added products; call it once."""
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

    def _weighted_frequencies(self) -> tuple[Ints, Floats]:
        """Unique keys (code * N + row), ascending, and their tf~, summed over fields in the order of the weights."""
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

    def _length_discount(self, lengths_N: Ints) -> Floats:
        """1 - b + b * length / mean length; the mean is over the products that have the field."""
        filled = lengths_N[lengths_N > 0]
        mean = filled.mean() if len(filled) else 1.0
        b = self._config.b
        return np.asarray(1 - b + b * lengths_N / mean)
