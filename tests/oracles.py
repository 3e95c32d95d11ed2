"""Slow reference implementations, written from the definitions; property tests compare the fast code with them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from intarsia.fusion.spec import FusionSpec
from intarsia.records.candidates import Candidates
from intarsia.records.product import Product
from intarsia.records.query import Filters
from intarsia.text import fold


def best_products(
    vectors_VD: NDArray[np.float32],
    rows_V: NDArray[np.int64],
    query_D: NDArray[np.float32],
    k: int,
    allowed: Collection[int],
) -> list[tuple[int, float, int]]:
    """(row, score, view) of the k best allowed products; a product is scored by its first best view."""
    views: dict[int, list[float]] = {}
    for row, vector_D in zip(rows_V.tolist(), vectors_VD, strict=True):
        views.setdefault(row, []).append(float(np.vecdot(vector_D[None, :], query_D)[0]))
    scored = [(row, max(scores), scores.index(max(scores))) for row, scores in views.items() if row in allowed]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:k]


def bm25f_score(
    query: Sequence[str],
    product: Mapping[str, Sequence[str]],
    catalog: Sequence[Mapping[str, Sequence[str]]],
    *,
    k1: float,
    b: float,
    weights: Mapping[str, float],
) -> float:
    """BM25F of one product by its definition; texts are tokens by field."""
    score = 0.0
    for token in query:
        df = sum(any(token in other.get(name, ()) for name in weights) for other in catalog)
        tf = 0.0
        for name, weight in weights.items():
            lengths = [len(other[name]) for other in catalog if other.get(name)]
            if token in product.get(name, ()):
                mean = sum(lengths) / len(lengths)
                tf += weight * list(product[name]).count(token) / (1 - b + b * len(product[name]) / mean)
        idf = math.log(1 + (len(catalog) - df + 0.5) / (df + 0.5))
        score += idf * tf * (k1 + 1) / (k1 + tf) if tf else 0.0
    return score


def passes(product: Product, filters: Filters) -> bool:
    """Whether a product passes the filters, field by field."""
    price = None if product.price is None else product.price.minor_units
    conditions = filters.attributes.items()
    return (
        [fold(part) for part in product.category_path[: len(filters.category)]] == [fold(p) for p in filters.category]
        and (not filters.brands or (product.brand != "" and fold(product.brand) in [fold(b) for b in filters.brands]))
        and (filters.price_min is None or (price is not None and price >= filters.price_min))
        and (filters.price_max is None or (price is not None and price <= filters.price_max))
        and (filters.in_stock is None or product.in_stock is filters.in_stock)
        and product.product_id not in filters.exclude
        and all(
            any(
                fold(n) == fold(name) and fold(v) in map(fold, values)
                for n, vs in product.attributes.items()
                for v in vs
            )
            for name, values in conditions
        )
    )


def retrieved_by_definition(
    scores: Mapping[str, Mapping[int, float]], allowed: Collection[int], *, depth: int, floors: Mapping[str, float]
) -> tuple[set[int], dict[str, list[int]]]:
    """(the match set, each retriever's shortlist) of one query.

    `scores` maps retriever -> row -> score, of the rows that it can score. BM25 matches above 0, a vector from its
    floor on.
    """
    matches = {
        name: [r for r in allowed if r in by_row and (by_row[r] > 0 if name == "bm25" else by_row[r] >= floors[name])]
        for name, by_row in scores.items()
    }
    shortlists = {name: sorted(rows, key=lambda r: (-scores[name][r], r))[:depth] for name, rows in matches.items()}
    return {row for rows in matches.values() for row in rows}, shortlists


def best_order(scores: Mapping[int, float]) -> list[int]:
    """Rows by score, best first, ties by smaller row."""
    return sorted(scores, key=lambda row: (-scores[row], row))


def ndcg_by_definition(order: Sequence[int], grades: Mapping[int, float], k: int) -> float:
    """nDCG@k of one query, position by position, gains 2^grade - 1; NaN when nothing is relevant."""
    gains = [2 ** grades.get(row, 0.0) - 1 for row in order]
    ideal = sorted((2**grade - 1 for grade in grades.values()), reverse=True)

    def dcg(values: Sequence[float]) -> float:
        return sum(value / math.log2(position + 1) for position, value in enumerate(values[:k], start=1))

    return dcg(gains) / dcg(ideal) if dcg(ideal) > 0 else float("nan")


def metrics_by_definition(order: Sequence[int], grades: Mapping[int, float], k: int) -> dict[str, float]:
    """MRR, recall, precision and F1 at k of one query with a relevant product, by counting."""
    relevant = {row for row, grade in grades.items() if grade > 0}
    positions = [position for position, row in enumerate(order[:k], start=1) if row in relevant]
    precision, recall = len(positions) / k, len(positions) / len(relevant)
    return {
        "mrr": 1 / positions[0] if positions else 0.0,
        "recall": recall,
        "precision": precision,
        "f1": 2 * precision * recall / (precision + recall) if positions else 0.0,
    }


def fused_by_definition(candidates: Candidates, spec: FusionSpec) -> dict[int, float]:
    """Row -> fused score, candidate by candidate; for a spec whose weights are above 0, or empty."""
    names = candidates.retrievers
    weights = {name: spec.weights.get(name, 1.0) for name in names}
    kept = [i for i in range(len(candidates.rows_C)) if any(0 < rank <= spec.depth for rank in candidates.ranks_CR[i])]
    if spec.kind == "rrf":
        return {
            int(candidates.rows_C[i]): sum(
                weights[name] / (spec.rrf_k + rank)
                for name, rank in zip(names, candidates.ranks_CR[i].tolist(), strict=True)
                if 0 < rank <= spec.depth
            )
            for i in kept
        }
    if spec.kind in ("comb_sum", "comb_mnz"):
        return _combined(candidates, spec, weights, kept)
    scores = {name: [float(candidates.scores_CR[i, column]) for i in kept] for column, name in enumerate(names)}
    scores = {name: values for name, values in scores.items() if not all(map(math.isnan, values))}
    normal = {name: _normalised(values, spec, name) for name, values in scores.items()}
    fused = {}
    for k, i in enumerate(kept):
        substitute = min if spec.missing == "lowest" else statistics.fmean
        parts = [(weights[name], normal[name][k], substitute(_known(normal[name]))) for name in scores]
        if spec.missing == "renormalise":
            parts = [part for part in parts if not math.isnan(part[1])]
        total = sum(weight for weight, _, _ in parts)
        fused[int(candidates.rows_C[i])] = (
            sum(weight * (default if math.isnan(value) else value) for weight, value, default in parts) / total
        )
    return fused


def _combined(
    candidates: Candidates, spec: FusionSpec, weights: Mapping[str, float], kept: Sequence[int]
) -> dict[int, float]:
    parts: dict[int, list[float]] = {int(candidates.rows_C[i]): [] for i in kept}
    for column, name in enumerate(candidates.retrievers):
        returned = [i for i in kept if 0 < candidates.ranks_CR[i, column] <= spec.depth]
        values = [float(candidates.scores_CR[i, column]) for i in returned]
        for i, value in zip(returned, _normalised(values, spec, name) if values else [], strict=True):
            parts[int(candidates.rows_C[i])].append(weights[name] * value)
    return {row: sum(of) * (len(of) if spec.kind == "comb_mnz" else 1) for row, of in parts.items()}


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _normalised(values: Sequence[float], spec: FusionSpec, name: str) -> list[float]:
    known = _known(values)
    low, high, mean = min(known), max(known), statistics.fmean(known)
    floor = spec.lowest_scores.get(name, -1.0)

    def normalise(value: float) -> float:
        if math.isnan(value):
            return value
        match spec.normaliser:
            case "min_max":
                return (value - low) / (high - low) if high > low else 1.0
            case "theoretical_min_max":
                return max(value - floor, 0.0) / (high - floor) if high > floor else 0.0
            case "z":
                return 0.5 + (value - mean) / statistics.pstdev(known) / 6 if high > low else 0.5
            case "atan":
                return 0.5 + math.atan(value) / math.pi
            case "quantile":
                return sum(other <= value for other in known) / len(known)

    return [normalise(value) for value in values]
