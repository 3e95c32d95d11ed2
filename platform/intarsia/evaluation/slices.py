"""Slices of the judged queries, by language, kind, images and popularity.

A mean over all queries can hide that one slice got worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.evaluation.qrels import Qrels
from intarsia.maths.arrays import Floats
from intarsia.records.judgment import JudgedQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A subset of the queries, bool [Q]; a report shows the slices of one `group` together."""

    group: str
    name: str
    mask_Q: NDArray[np.bool_]


def standard_slices(
    queries: Sequence[JudgedQuery], qrels: Sequence[Qrels], has_image_N: NDArray[np.bool_], clicks_N: Floats
) -> list[Slice]:
    """Slices by locale, kind of query, and images, number and clicks of the relevant products.

    Args:
        queries: Q judged queries.
        qrels: the judgments of each query.
        has_image_N: whether a product has an image.
        clicks_N: number of clicks on each product; NaN without behaviour data, which gives no slices by clicks.
    """
    num_relevant_Q = np.array([np.count_nonzero(judged.grades_J > 0) for judged in qrels], np.float64)
    image_share_Q = mean_over_relevant(qrels, has_image_N.astype(np.float64))
    return [
        *slices_by_value("locale", [query.locale for query in queries]),
        *slices_by_value("query", [query.kind for query in queries]),
        *slices_by_share("images", image_share_Q, all_have="every relevant product", some_lack="not every"),
        *slices_at_median("relevant products", num_relevant_Q, low="few (tail)", high="many (head)"),
        *slices_at_median("clicks on them", mean_over_relevant(qrels, clicks_N), low="few (tail)", high="many (head)"),
    ]


def slices_by_value(group: str, values_Q: Sequence[str]) -> list[Slice]:
    """One slice for each value, in sorted order."""
    array_Q = np.array(values_Q, dtype=str)
    return [Slice(group=group, name=value, mask_Q=array_Q == value) for value in sorted(set(values_Q))]


def slices_by_share(group: str, share_Q: Floats, *, all_have: str, some_lack: str) -> list[Slice]:
    """Queries whose share is 1, and those below; NaN is in neither."""
    known_Q = ~np.isnan(share_Q)
    return [
        Slice(group=group, name=all_have, mask_Q=known_Q & (share_Q == 1.0)),
        Slice(group=group, name=some_lack, mask_Q=known_Q & (share_Q < 1.0)),
    ]


def slices_at_median(group: str, values_Q: Floats, *, low: str, high: str) -> list[Slice]:
    """Queries up to the median, and above it; NaN is in neither. With many equal values the halves are unequal."""
    known_Q = ~np.isnan(values_Q)
    median = np.median(values_Q[known_Q]) if known_Q.any() else 0.0
    return [
        Slice(group=group, name=low, mask_Q=known_Q & (values_Q <= median)),
        Slice(group=group, name=high, mask_Q=known_Q & (values_Q > median)),
    ]


def mean_over_relevant(qrels: Sequence[Qrels], values_N: Floats) -> Floats:
    """Mean of a product value over each query's relevant products in the catalog: float64 [Q]; NaN without any."""
    means_Q = np.full(len(qrels), np.nan)
    for number, judged in enumerate(qrels):
        rows = judged.rows_J[(judged.grades_J > 0) & (judged.rows_J >= 0)]
        if len(rows):
            means_Q[number] = np.mean(values_N[rows])
    return means_Q
