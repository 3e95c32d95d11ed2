"""Whether a difference over queries can be chance: the paired permutation test, and Holm's correction for asking it of many systems.

How large a difference is, with its interval, is `compare.py`'s matter. Letters: Q queries, B permutations, M comparisons.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.arrays import Floats

NUM_PERMUTATIONS = 10_000
_SIGNS_AT_ONCE = 4_000_000  # signs drawn per piece: bounds memory at about 32 MB
_ROUNDING = (
    1e-12  # sums of the same numbers in another order differ by this much; such permutations count as equally extreme
)


def permutation_p_values(differences_QM: Floats, *, seed: int, num_permutations: int = NUM_PERMUTATIONS) -> Floats:
    """The two-sided p of each column of paired differences, all from the same permutations: float64 [M].

    Under the null hypothesis a query's two values could be exchanged, which changes the sign of its difference. All 2^Q signs are tried
    where these are no more than `num_permutations`; else that many are drawn, and p is (1 + as extreme) / (1 + drawn), never 0.

    Args:
        differences_QM: a - b for each query; a query that is NaN in one column is left out of all.
        seed: of the draws.
        num_permutations: draws, and the most that are enumerated.

    Raises:
        ValueError: fewer than one permutation.

    Source: Smucker, Allan and Carterette, CIKM 2007, doi:10.1145/1321440.1321528; the added 1: Phipson and Smyth 2010,
    doi:10.2202/1544-6115.1585.
    """
    if num_permutations < 1:
        raise ValueError(f"{num_permutations} permutations; allowed: 1 or more")
    known_QM = differences_QM[~np.isnan(differences_QM).any(axis=1)]
    known_QM = known_QM[(known_QM != 0.0).any(axis=1)]  # a sign changes nothing there
    num_queries = len(known_QM)
    least_M = np.abs(known_QM.sum(axis=0)) - _ROUNDING
    if 2.0**num_queries <= num_permutations:
        return _num_extreme(_all_signs(num_queries), known_QM, least_M) / 2.0**num_queries
    rng = np.random.default_rng(seed)
    at_once = max(1, _SIGNS_AT_ONCE // num_queries)
    extreme_M = np.ones(known_QM.shape[1], np.int64)
    for start in range(0, num_permutations, at_once):
        piece = min(at_once, num_permutations - start)
        signs_BQ = 1.0 - 2.0 * rng.integers(2, size=(piece, num_queries), dtype=np.int8).astype(np.float64)
        extreme_M += _num_extreme(signs_BQ, known_QM, least_M)
    return extreme_M / (1.0 + num_permutations)


def holm(p_values_M: Floats) -> Floats:
    """P values corrected for having asked M questions: below alpha, each, means at most alpha chance of any false alarm; float64 [M].

    The k-th smallest is multiplied by M - k + 1, then never below an earlier one, nor above 1.

    Raises:
        ValueError: a p value outside 0..1.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    outside = np.flatnonzero(~((p_values_M >= 0) & (p_values_M <= 1)))
    if len(outside):
        raise ValueError(f"p value {outside[0]} is {p_values_M[outside[0]]}; allowed: 0 to 1")
    order = np.argsort(p_values_M, kind="stable")
    scaled = p_values_M[order] * np.arange(len(order), 0, -1)
    corrected_M = np.empty(len(order))
    corrected_M[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected_M


def _all_signs(num_queries: int) -> Floats:
    """Every choice of signs, [2^Q, Q]."""
    numbers = np.arange(2**num_queries)[:, None]
    return 1.0 - 2.0 * ((numbers >> np.arange(num_queries)) & 1).astype(np.float64)


def _num_extreme(signs_BQ: Floats, differences_QM: Floats, least_M: Floats) -> NDArray[np.int64]:
    counted_M: NDArray[np.int64] = np.count_nonzero(np.abs(signs_BQ @ differences_QM) >= least_M, axis=0)
    return counted_M
