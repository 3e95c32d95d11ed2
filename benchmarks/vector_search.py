"""Graph (HNSW) against exact search at 200,000 x 384 vectors: build time, time per query on one thread, recall@100.

    python -m benchmarks.vector_search [--num-vectors 200000] [--dim 384] [--num-queries 200]

The vectors are random: overlapping clusters in a latent space of 48 dimensions, projected to the full width, with
noise, similar to embeddings of products. Recall on real vectors may differ; a larger `VectorIndexConfig.hnsw_ef_search`
increases it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import SpaceId
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index, open_vector_index
from intarsia.index.vector_index import VectorHits, VectorIndex
from intarsia.maths.unit_vectors import unit_vectors

K = 100
_LATENT_DIM = 48
_WITHIN_CLUSTER, _NOISE = 1.0, 0.5  # spreads, as shares of the spread between clusters: they overlap


def clustered_vectors(num_vectors: int, *, dim: int, num_clusters: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors in clusters, float32 [num_vectors, dim].

    Clusters depend on `dim` and `num_clusters` only, their members on `seed`.
    """
    space = np.random.default_rng(dim * 1_000_003 + num_clusters)
    centres = space.standard_normal((num_clusters, _LATENT_DIM), dtype=np.float32)
    into_full = space.standard_normal((_LATENT_DIM, dim), dtype=np.float32) / np.float32(np.sqrt(_LATENT_DIM))
    rng = np.random.default_rng(seed)
    latent = centres[rng.integers(0, num_clusters, num_vectors)]
    latent += np.float32(_WITHIN_CLUSTER) * rng.standard_normal(latent.shape, dtype=np.float32)
    vectors = latent @ into_full
    vectors += np.float32(_NOISE) * rng.standard_normal(vectors.shape, dtype=np.float32)
    return unit_vectors(vectors)


def timed_searches(index: VectorIndex, queries_QD: NDArray[np.float32]) -> tuple[list[VectorHits], NDArray[np.float64]]:
    """Search query by query; return the hits and the milliseconds of each."""
    hits, took_ms = [], []
    for q in range(len(queries_QD)):
        start_s = time.perf_counter()
        hits.append(index.search(queries_QD[q : q + 1], K, None))
        took_ms.append((time.perf_counter() - start_s) * 1000)
    return hits, np.array(took_ms)


def main() -> None:
    """Build both indexes, run the same queries on both, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-vectors", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--num-queries", type=int, default=200)
    options = parser.parse_args()
    vectors_VD = clustered_vectors(options.num_vectors, dim=options.dim, num_clusters=500, seed=0)
    queries_QD = clustered_vectors(options.num_queries, dim=options.dim, num_clusters=500, seed=1)
    rows_V = np.arange(options.num_vectors)
    print(
        f"{options.num_vectors} x {options.dim} vectors, {options.num_queries} queries one by one, k = {K}, one thread"
    )
    hits_by_kind: dict[str, list[VectorHits]] = {}
    with tempfile.TemporaryDirectory() as parent:
        for kind, exact_up_to in (("exact", options.num_vectors), ("hnsw", 0)):
            folder = Path(parent) / kind
            start_s = time.perf_counter()
            config = VectorIndexConfig(exact_up_to=exact_up_to)
            build_vector_index(config, SpaceId("drawn"), vectors_VD, rows_V, len(rows_V), folder)
            build_s = time.perf_counter() - start_s
            num_bytes = sum(path.stat().st_size for path in folder.iterdir())
            index = open_vector_index(folder)
            timed_searches(index, queries_QD[:20])  # read the pages from disk
            hits_by_kind[kind], took_ms = timed_searches(index, queries_QD)
            p50_ms, p95_ms = np.percentile(took_ms, [50, 95])
            print(
                f"{kind:<6} build {build_s:7.1f} s   disk {num_bytes / 1e6:6.0f} MB   "
                f"p50 {p50_ms:7.3f} ms   p95 {p95_ms:7.3f} ms"
            )
    shared = [
        len(set(a.rows_Qk[0].tolist()) & set(b.rows_Qk[0].tolist()))
        for a, b in zip(hits_by_kind["exact"], hits_by_kind["hnsw"], strict=True)
    ]
    print(f"recall@{K} of hnsw against exact: {np.mean(shared) / K:.4f} (worst query {min(shared) / K:.2f})")


if __name__ == "__main__":
    main()
