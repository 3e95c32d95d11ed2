"""Time of features and ranking per query: assemble, compute, score; one thread, random catalog.

OMP_NUM_THREADS=1 python -m benchmarks.features_and_ranking [num_products]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import ProductStats
from intarsia.ids import SpaceId
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index, open_vector_index
from intarsia.index.vector_index import VectorIndex
from intarsia.maths.unit_vectors import unit_vectors
from intarsia.ranking.lambdamart import LambdaMartConfig, fit_lambdamart
from intarsia.ranking.lightgbm_ranker import LightGbmRanker
from intarsia.ranking.rows import RankingRows
from intarsia.records.candidates import Candidates
from intarsia.records.feature_matrix import FeatureMatrix
from tests.feature_cases import Item, candidates_of, columns_of, encoded_query

NUM_WORDS, TITLE_WORDS, DESCRIPTION_WORDS, DIM = 12_000, 8, 60, 384
QUERY_WORDS, NUM_QUERIES = 4, 50


def main(num_products: int) -> None:
    """Print the table."""
    rng = np.random.default_rng(7)
    vocabulary = ["".join(rng.choice(list("abcdefghiklmnoprstu"), rng.integers(3, 10))) for _ in range(NUM_WORDS)]
    items = [_item(rng, vocabulary) for _ in range(num_products)]
    columns = columns_of(items)
    vectors = {name: _index(rng, num_products) for name in ("text", "image")}
    start_s = time.perf_counter()
    assembler = Assembler(columns, ProductStats.empty(), vectors)
    print(
        f"{num_products} products, {len(columns.vocabularies['word'])} words; "
        f"opened in {time.perf_counter() - start_s:.2f} s"
    )
    for depth in (100, 200):
        costs = _costs(rng, assembler, vocabulary, num_products, depth)
        print(f"  {depth} candidates x {len(FEATURES.names)} features: {costs}")


def _costs(rng: np.random.Generator, assembler: Assembler, vocabulary: list[str], num_products: int, depth: int) -> str:
    queries = [encoded_query(" ".join(_some(rng, vocabulary, QUERY_WORDS))) for _ in range(NUM_QUERIES)]
    candidates = [_candidates(rng, num_products, depth) for _ in queries]
    frames = [assembler.assemble([q], [c]) for q, c in zip(queries, candidates, strict=True)]
    matrices = [FEATURES.compute(frame) for frame in frames]
    ranker = _ranker(rng, matrices)
    steps: dict[str, Callable[[int], object]] = {
        "assemble": lambda i: assembler.assemble([queries[i]], [candidates[i]]),
        "compute": lambda i: FEATURES.compute(frames[i]),
        "score": lambda i: ranker.score(matrices[i]),
    }
    return ", ".join(f"{name} {_median_ms(step, NUM_QUERIES):.2f} ms" for name, step in steps.items())


def _median_ms(step: Callable[[int], object], count: int) -> float:
    taken = []
    for i in [*range(count), *range(count)]:
        start_s = time.perf_counter()
        step(i)
        taken.append(time.perf_counter() - start_s)
    return float(np.median(taken)) * 1e3


def _some(rng: np.random.Generator, vocabulary: list[str], count: int) -> list[str]:
    return [vocabulary[int(NUM_WORDS * u**3)] for u in rng.random(count)]


def _item(rng: np.random.Generator, vocabulary: list[str]) -> Item:
    return Item(
        title=" ".join(_some(rng, vocabulary, TITLE_WORDS)),
        description=" ".join(_some(rng, vocabulary, DESCRIPTION_WORDS)),
        brand=vocabulary[int(rng.integers(100))],
        category=("shop", vocabulary[int(rng.integers(20))]),
        attributes={f"name{n}": (vocabulary[int(rng.integers(200))],) for n in range(5)},
        price=float(rng.integers(100, 10_000)),
        num_images=1,
    )


def _index(rng: np.random.Generator, num_rows: int) -> VectorIndex:
    vectors_VD = rng.normal(size=(num_rows, DIM)).astype(np.float32)
    vectors_VD = unit_vectors(vectors_VD)
    folder = Path(tempfile.mkdtemp())
    try:
        build_vector_index(VectorIndexConfig(), SpaceId("bench"), vectors_VD, np.arange(num_rows), num_rows, folder)
        return open_vector_index(folder)
    finally:
        shutil.rmtree(folder)  # mapped files stay readable


def _candidates(rng: np.random.Generator, num_products: int, depth: int) -> Candidates:
    rows = np.sort(rng.choice(num_products, depth, replace=False))
    scores = rng.random((depth, 3))
    ranks = np.argsort(np.argsort(-scores, axis=0), axis=0) + 1
    return candidates_of(rows.tolist(), scores=scores.tolist(), ranks=ranks.tolist(), fused=rng.random(depth).tolist())


def _ranker(rng: np.random.Generator, matrices: list[FeatureMatrix]) -> LightGbmRanker:
    rows = RankingRows(
        values_nF=np.concatenate([m.values_nF for m in matrices]),
        labels_n=rng.integers(0, 4, sum(len(m.values_nF) for m in matrices)).astype(np.int32),
        weights_n=np.ones(sum(len(m.values_nF) for m in matrices), np.float32),
        offsets_G=np.concatenate([[0], np.cumsum([len(m.values_nF) for m in matrices])]).astype(np.int64),
        feature_names=FEATURES.names,
    )
    config = LambdaMartConfig(num_rounds=300, early_stopping_rounds=0)
    fit = fit_lambdamart(rows, rows, [config])[0]
    return LightGbmRanker(fit.model, FEATURES.names, FEATURES.fingerprint)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15_000)
