"""Named parts of the judged queries: a mean over all may hide that one language, or products without a picture, lost."""

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
    """Some of the queries: bool [Q]; slices of one `group` are meant to be read beside each other."""

    group: str
    name: str
    mask_Q: NDArray[np.bool_]


def standard_slices(
    queries: Sequence[JudgedQuery], qrels: Sequence[Qrels], has_image_N: NDArray[np.bool_], clicks_N: Floats
) -> list[Slice]:
    """Language, kind of query, with and without pictures, head and tail: by the number of relevant products, and by the clicks on them.

    Args:
        queries: Q judged queries.
        qrels: what is relevant to each.
        has_image_N: whether a product has a picture.
        clicks_N: how often it was clicked; NaN in a shop that was not watched, which then has no slices by clicks.
    """
    num_relevant_Q = np.array([np.count_nonzero(one.grades_J > 0) for one in qrels], np.float64)
    imaged_Q = relevant_mean(qrels, has_image_N.astype(np.float64))
    return [
        *slices_by_value("locale", [query.locale for query in queries]),
        *slices_by_value("query", [query.kind for query in queries]),
        *slices_by_share("pictures", imaged_Q, all_have="every relevant product", some_lack="not every"),
        *slices_at_median("relevant products", num_relevant_Q, low="few (tail)", high="many (head)"),
        *slices_at_median("clicks on them", relevant_mean(qrels, clicks_N), low="few (tail)", high="many (head)"),
    ]


def slices_by_value(group: str, values_Q: Sequence[str]) -> list[Slice]:
    """One slice for each value, in the values' order."""
    array_Q = np.array(values_Q, dtype=str)
    return [Slice(group=group, name=value, mask_Q=array_Q == value) for value in sorted(set(values_Q))]


def slices_by_share(group: str, share_Q: Floats, *, all_have: str, some_lack: str) -> list[Slice]:
    """Queries whose share is 1, and those below; NaN (nothing to share) is in neither."""
    known_Q = ~np.isnan(share_Q)
    return [
        Slice(group=group, name=all_have, mask_Q=known_Q & (share_Q == 1.0)),
        Slice(group=group, name=some_lack, mask_Q=known_Q & (share_Q < 1.0)),
    ]


def slices_at_median(group: str, values_Q: Floats, *, low: str, high: str) -> list[Slice]:
    """Queries up to the median, and above it; NaN is in neither. Many equal values make unequal halves."""
    known_Q = ~np.isnan(values_Q)
    middle = np.median(values_Q[known_Q]) if known_Q.any() else 0.0
    return [
        Slice(group=group, name=low, mask_Q=known_Q & (values_Q <= middle)),
        Slice(group=group, name=high, mask_Q=known_Q & (values_Q > middle)),
    ]


def relevant_mean(qrels: Sequence[Qrels], values_N: Floats) -> Floats:
    """Mean value (clicks, or the share that has a picture) of each query's relevant products in the catalog: [Q]; NaN without any."""
    means = np.full(len(qrels), np.nan)
    for at, one in enumerate(qrels):
        rows = one.rows_J[(one.grades_J > 0) & (one.rows_J >= 0)]
        if len(rows):
            means[at] = np.mean(values_N[rows])
    return means
