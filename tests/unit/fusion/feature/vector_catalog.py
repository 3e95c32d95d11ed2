"""A synthetic catalog of vectors whose judged queries need both text and image: for tests of feature fusion.

A product has a type, which only its text contains, and a colour, which its image contains, and for half of the products
the text too. A query names a type and a colour. Texts and queries also contain a brand, which is irrelevant.

Shapes: N products, Q queries, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intarsia.fusion.feature.config import FeatureFitConfig
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.ids import ReleaseId, SpaceId
from intarsia.records.candidates import Candidates
from intarsia.records.query import QueryVector

TEXT_DIM, IMAGE_DIM, NUM_PRODUCTS, NUM_KINDS, NUM_COLOURS, NUM_BRANDS = 24, 16, 240, 4, 5, 6
SMALL = FeatureFitConfig(
    width=16,
    num_heads=2,
    num_steps=40,
    queries_per_step=8,
    candidates_per_query=24,
    products_per_step=24,
    measure_every=20,
    learning_rate=5e-3,
)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def training_data(seed: int = 5, *, num_queries: int = 24, first: int = 0) -> FusionTrainingData:
    """Judged queries, numbered from `first`; all seeds share the catalog."""
    world = np.random.default_rng(1)
    kinds_N, colours_N = world.integers(NUM_KINDS, size=NUM_PRODUCTS), world.integers(NUM_COLOURS, size=NUM_PRODUCTS)
    of_kind, of_colour = world.normal(size=(NUM_KINDS, TEXT_DIM)), world.normal(size=(NUM_COLOURS, TEXT_DIM))
    of_brand, brands_N = 1.5 * world.normal(size=(NUM_BRANDS, TEXT_DIM)), world.integers(NUM_BRANDS, size=NUM_PRODUCTS)
    image_of_colour = world.normal(size=(NUM_COLOURS, IMAGE_DIM))
    in_text_N1 = (np.arange(NUM_PRODUCTS) % 2)[:, None]
    text_ND = of_kind[kinds_N] + in_text_N1 * of_colour[colours_N] + of_brand[brands_N]
    text_ND += 0.3 * world.normal(size=(NUM_PRODUCTS, TEXT_DIM))
    image_NE = image_of_colour[colours_N] + 0.3 * world.normal(size=(NUM_PRODUCTS, IMAGE_DIM))
    products = ProductVectors(
        text_ND=unit(text_ND), image_NE=unit(image_NE), has_N2=np.ones((NUM_PRODUCTS, 2), np.bool_)
    )
    rng = np.random.default_rng(seed)
    queries, grades = [], []
    for _ in range(num_queries):
        kind, colour = rng.integers(NUM_KINDS), rng.integers(NUM_COLOURS)
        rows_C = np.sort(rng.choice(NUM_PRODUCTS, 80, replace=False)).astype(np.int64)
        vector_D = of_kind[kind] + of_colour[colour] + of_brand[rng.integers(NUM_BRANDS)]
        vector_D += 0.3 * rng.normal(size=TEXT_DIM)
        queries.append(candidates(rows_C, {"text": unit(vector_D)}))
        grades.append(np.where((kinds_N[rows_C] == kind) & (colours_N[rows_C] == colour), 2.0, 0.0))
    ids = tuple(f"q{first + number}" for number in range(num_queries))
    return FusionTrainingData(query_ids=ids, candidates=queries, grades=grades, judged=grades, products=products)


def candidates(rows_C: np.ndarray, vectors: Mapping[str, np.ndarray]) -> Candidates:
    """Candidates that one retriever returned in the order of their rows."""
    num = len(rows_C)
    return Candidates(
        release_id=ReleaseId("r-1"),
        rows_C=rows_C,
        retrievers=("bm25",),
        scores_CR=np.linspace(9, 1, num, dtype=np.float32)[:, None],
        ranks_CR=np.arange(1, num + 1, dtype=np.int32)[:, None],
        views_C=np.full(num, -1, np.int32),
        query_vectors=query(**vectors),
    )


def query(**vectors: np.ndarray) -> dict[str, QueryVector]:
    return {name: QueryVector(space_id=SpaceId(name), values_D=values.copy()) for name, values in vectors.items()}
