"""A feature matrix of judged queries with its labels: what is learnt from. How candidates come about is `engine/`'s matter.

Letters: n rows, G queries, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intarsia.ids import ProductId, QueryId
from intarsia.records.feature_matrix import FeatureMatrix
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.tables.training_rows import training_rows_spec

Judged = Mapping[tuple[QueryId, ProductId], Judgment]


def by_pair(judgments: Iterable[Judgment]) -> Judged:
    """Judgments by query and product."""
    return {(judgment.query_id, judgment.product_id): judgment for judgment in judgments}


def training_rows(
    queries: Sequence[JudgedQuery],
    matrix: FeatureMatrix,
    group_offsets: NDArray[np.int64],
    product_ids_n: Sequence[ProductId],
    judged: Judged,
    *,
    seed: int,
    asked: str = "",
) -> pa.Table:
    """Rows of the table `training_rows`, query after query.

    A candidate that nobody judged has label 0 and weight 1. Within a query the order is by a seeded hash of the product, so that it tells
    nothing: a learner breaks ties by the order of the rows. Products that no retriever returned are not slipped in, because serving will
    never see such a row.

    Args:
        queries: in the order of the matrix's groups.
        matrix: of all their candidates.
        group_offsets: int64 [G + 1], the frame's.
        product_ids_n: of each row.
        judged: from `by_pair`.
        seed: of the order within each query.
        asked: how, where the same queries are asked in more than one way; is added to their ids, as each way is a query of its own.
    """
    order: list[int] = []
    for query, start, stop in zip(queries, group_offsets[:-1], group_offsets[1:], strict=True):
        ranked = [(_place(seed, query.query_id, product_ids_n[n]), n) for n in range(int(start), int(stop))]
        order.extend(n for _, n in sorted(ranked))
    query_n = np.repeat(np.arange(len(queries)), np.diff(group_offsets))
    found = [judged.get((queries[query_n[n]].query_id, product_ids_n[n])) for n in order]
    keys = {
        "query_id": [f"{queries[query_n[n]].query_id}{asked}" for n in order],
        "split": [queries[query_n[n]].split for n in order],
        "product_id": [str(product_ids_n[n]) for n in order],
        "label": [0 if judgment is None else round(judgment.grade) for judgment in found],
        "weight": [1.0 if judgment is None else judgment.weight for judgment in found],
    }
    values_Fn = np.ascontiguousarray(matrix.values_nF[order].T)
    schema = training_rows_spec(matrix.names).schema
    columns = [*keys.values(), *values_Fn]
    return pa.Table.from_arrays(
        [pa.array(column, type=field.type, from_pandas=False) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )


def _place(seed: int, query_id: QueryId, product_id: ProductId) -> bytes:
    return blake2b(f"{seed}\0{query_id}\0{product_id}".encode(), digest_size=8).digest()
