"""Fusers that never saw the queries of a fold, and the queries that they learn from.

A fold is cut by the query's id alone, so it is the same for every job, whatever other queries there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from intarsia.errors import DataError
from intarsia.fusion.protocol import Fuser, FusionTrainingData
from intarsia.fusion.training_data import select
from intarsia.ids import fold_of

FuserT = TypeVar("FuserT", bound=Fuser)


def fit_without(
    fit: Callable[[FusionTrainingData], FuserT], training_data: FusionTrainingData, num_folds: int
) -> tuple[FuserT, ...]:
    """One fuser for each fold, fitted on the queries of all other folds.

    Raises:
        DataError: some fold leaves no query with a relevant candidate to the others.
    """
    return tuple(fit(others(training_data, fold, num_folds)) for fold in range(num_folds))


def others(training_data: FusionTrainingData, fold: int, num_folds: int) -> FusionTrainingData:
    """The queries of all folds but one.

    Raises:
        DataError: none of them has a relevant candidate.
    """
    kept = select(
        training_data, [i for i, name in enumerate(training_data.query_ids) if fold_of(name, num_folds) != fold]
    )
    if not any((grades > 0).any() for grades in kept.grades):
        raise DataError(
            table="queries",
            field="query_id",
            found=f"no query with a relevant candidate outside fold {fold} of {num_folds}, of {len(training_data.query_ids)} in all",
            allowed="some in at least two folds",
            fix="judge more queries, or cut fewer folds",
        )
    return kept
