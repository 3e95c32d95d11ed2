"""Training rows of the ranker: a feature matrix of judged queries with labels and weights.

Letters: n rows, G queries, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from intarsia.ids import ProductId, QueryId
from intarsia.maths.arrays import Ints
from intarsia.records.feature_matrix import FeatureMatrix
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.tables.training_rows import training_rows_spec

JudgmentsByPair = Mapping[tuple[QueryId, ProductId], Judgment]


def by_pair(judgments: Iterable[Judgment]) -> JudgmentsByPair:
    """Judgments by query and product."""
    return {(judgment.query_id, judgment.product_id): judgment for judgment in judgments}


def training_rows(
    queries: Sequence[JudgedQuery],
    matrix: FeatureMatrix,
    group_offsets: Ints,
    product_ids_n: Sequence[ProductId],
    judgments: JudgmentsByPair,
    *,
    seed: int,
    id_suffix: str = "",
) -> pa.Table:
    """Rows of the table `training_rows`, query after query.

    An unjudged candidate has label 0 and weight 1. The order within a query is that of a seeded hash of the product id:
    learners break ties by the order of rows, so it must not reveal the label. Judged products that no retriever
    returned are not added, because serving never sees such a row.

    Args:
        queries: in the order of the matrix's groups.
        matrix: features of all their candidates.
        group_offsets: int64 [G + 1], as in the frame.
        product_ids_n: product of each row.
        judgments: from `by_pair`.
        seed: seed of the order within each query.
        id_suffix: appended to the query ids, where the same queries were retrieved in several ways; each way is a query
            of its own.
    """
    order: list[int] = []
    for query, start, stop in zip(queries, group_offsets[:-1], group_offsets[1:], strict=True):
        hashed = [(_order_hash(seed, query.query_id, product_ids_n[n]), n) for n in range(int(start), int(stop))]
        order.extend(n for _, n in sorted(hashed))
    query_n = np.repeat(np.arange(len(queries)), np.diff(group_offsets))
    judgment_of_row = [judgments.get((queries[query_n[n]].query_id, product_ids_n[n])) for n in order]
    keys = {
        "query_id": [f"{queries[query_n[n]].query_id}{id_suffix}" for n in order],
        "split": [queries[query_n[n]].split for n in order],
        "product_id": [str(product_ids_n[n]) for n in order],
        "label": [0 if judgment is None else round(judgment.grade) for judgment in judgment_of_row],
        "weight": [1.0 if judgment is None else judgment.weight for judgment in judgment_of_row],
    }
    values_Fn = np.ascontiguousarray(matrix.values_nF[order].T)
    schema = training_rows_spec(matrix.names).schema
    columns = [*keys.values(), *values_Fn]
    return pa.Table.from_arrays(
        [pa.array(column, type=field.type, from_pandas=False) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )


def _order_hash(seed: int, query_id: QueryId, product_id: ProductId) -> bytes:
    return blake2b(f"{seed}\0{query_id}\0{product_id}".encode(), digest_size=8).digest()
