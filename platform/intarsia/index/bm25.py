"""Lexical search: BM25F over the fields of a product, exact over the whole catalog, in NumPy.

Letters: N products, T distinct tokens, P postings.

The score of a product is the sum over the query's tokens of (times in the query) x impact; how impacts are computed is
`bm25_postings.py`'s matter, how text becomes tokens is `intarsia.text`'s. Scores are complete, not a top list: match sets, facets and
features need the score of any product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intarsia import text
from intarsia.config import to_jsonable
from intarsia.errors import ArtifactError
from intarsia.index.bm25_postings import Bm25Config, Postings, PostingsBuilder
from intarsia.index.header import open_array, read_header, write_header
from intarsia.index.order import top_k

_FORMAT = "bm25/1"
_VOCABULARY = "vocabulary.arrow"
_ARRAYS = ("offsets", "rows", "impacts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bm25Index:
    """Postings of every token, with their impacts.

    Attributes:
        config: what the impacts were computed with.
        num_rows: N.
        vocabulary: token -> code, codes follow the sorted tokens.
        offsets: int64 [T + 1]; the postings of code t are offsets[t]:offsets[t + 1].
        rows: int32 [P], ascending within a token.
        impacts: float32 [P], above 0.
    """

    config: Bm25Config
    num_rows: int
    vocabulary: Mapping[str, int]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int32]
    impacts: NDArray[np.float32]

    @classmethod
    def build(cls, config: Bm25Config, fields: Mapping[str, Sequence[str]]) -> Bm25Index:
        """An index over texts in memory: field -> one text per product (empty where it has none)."""
        num_rows = len(next(iter(fields.values())))
        builder = PostingsBuilder(config, num_rows)
        searched = [name for name in fields if name in config.weights]
        builder.add(np.arange(num_rows), {name: [text.tokens(t) for t in fields[name]] for name in searched})
        return cls.of(config, num_rows, builder.finish())

    @classmethod
    def of(cls, config: Bm25Config, num_rows: int, postings: Postings) -> Bm25Index:
        """An index over finished postings."""
        return cls(
            config=config,
            num_rows=num_rows,
            vocabulary={token: code for code, token in enumerate(postings.tokens)},
            offsets=postings.offsets,
            rows=postings.rows,
            impacts=postings.impacts,
        )

    def scores(self, query: str) -> NDArray[np.float32]:
        """float32 [N]: the score of every product, 0 where no token of the query occurs.

        The order of the query's words does not change a bit.
        """
        counts = Counter(text.tokens(query))
        found = sorted((self.vocabulary[token], count) for token, count in counts.items() if token in self.vocabulary)
        if not found:
            return np.zeros(self.num_rows, np.float32)
        spans = [slice(self.offsets[code], self.offsets[code + 1]) for code, _ in found]
        rows = np.concatenate([self.rows[span] for span in spans])
        impacts = np.concatenate(
            [self.impacts[span] * np.float32(count) for span, (_, count) in zip(spans, found, strict=True)]
        )
        return np.bincount(rows, weights=impacts, minlength=self.num_rows).astype(np.float32)

    def search(
        self, query: str, k: int, allowed_N: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(rows, scores) of the k best matching products among the allowed ones, best first, ties by smaller row."""
        scores_N = self.scores(query)
        matching_N = scores_N > 0
        rows = top_k(scores_N, k, matching_N if allowed_N is None else matching_N & allowed_N)
        return rows, scores_N[rows]

    def save(self, folder: Path) -> None:
        """Fill a folder with the index, `index.json` last."""
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
        """The index of a folder; postings are memory-mapped, the vocabulary is read.

        Raises:
            ArtifactError: the folder is torn or of another format version.
        """
        facts = read_header(folder, _FORMAT)
        with pa.memory_map(str(folder / _VOCABULARY)) as source:
            tokens = pa.ipc.open_file(source).read_all()["token"].to_pylist()
        arrays = {name: open_array(folder / f"{name}.npy") for name in _ARRAYS}
        if len(arrays["offsets"]) != len(tokens) + 1 or arrays["offsets"][-1] != len(arrays["rows"]):
            raise ArtifactError(
                f"{folder}: the vocabulary has {len(tokens)} tokens, the postings {len(arrays['offsets']) - 1}: "
                "files of two builds, run build_indexes again"
            )
        params = facts["params"]
        config = Bm25Config(k1=params["k1"], b=params["b"], weights=params["weights"])
        return cls.of(config, facts["num_rows"], Postings(tokens, **arrays))
