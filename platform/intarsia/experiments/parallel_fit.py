"""Contenders fitted one after the other, or beside each other by whoever runs pieces of work; only the time they take differs."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from intarsia.experiments.fusion_methods import Fitted, FusionMethod, fit
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser, open_cross_fit
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.lake import staging_dir

_LESSONS = "lessons.pickle"


class FitMany(Protocol):
    """Fits contenders."""

    def __call__(
        self,
        methods: Sequence[FusionMethod],
        train: FusionTrainingData,
        validation: FusionTrainingData,
        seed: int,
        *,
        num_folds: int,
    ) -> Iterator[Fitted]:
        """Every contender, fitted, in any order."""
        ...


Piece = tuple[int, FusionMethod]
Done = tuple[int, float, str]
"""The number of a contender, the seconds its fit took, and why it failed; its fuser is then in the folder."""
Work = Callable[[Callable[[], Callable[[Piece], Done]], Sequence[Piece]], Iterator[Done]]
"""(open_worker, pieces) -> their results in any order; see `onray/workers.py`."""


def fit_in_turn(
    methods: Sequence[FusionMethod],
    train: FusionTrainingData,
    validation: FusionTrainingData,
    seed: int,
    *,
    num_folds: int,
) -> Iterator[Fitted]:
    """In this process."""
    for method in methods:
        yield fit(method, train, validation, seed, num_folds=num_folds)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitBeside:
    """Fits in workers, which read the lessons from a folder and leave the fusers there.

    Attributes:
        work: runs pieces.
        folder: one that every worker can reach; nothing stays in it.
    """

    work: Work
    folder: Path

    def __call__(
        self,
        methods: Sequence[FusionMethod],
        train: FusionTrainingData,
        validation: FusionTrainingData,
        seed: int,
        *,
        num_folds: int,
    ) -> Iterator[Fitted]:
        """See `FitMany`; what is not fitted stays in this process."""
        away = [one for one in methods if one.is_fitted]
        here = [one for one in methods if not one.is_fitted]
        yield from fit_in_turn(here, train, validation, seed, num_folds=num_folds)
        with staging_dir(self.folder) as aside:
            (aside / _LESSONS).write_bytes(pickle.dumps((train, validation)))
            for number, fit_s, error in self.work(partial(_open_fitter, aside, seed, num_folds), list(enumerate(away))):
                if error:
                    yield Fitted(method=away[number], fuser=None, fit_s=fit_s, error=error)
                    continue
                found = open_cross_fit(aside / str(number), train.products)
                yield Fitted(method=away[number], fuser=found.full, folds=found.folds, fit_s=fit_s)


def _open_fitter(aside: Path, seed: int, num_folds: int) -> Callable[[Piece], Done]:
    train, validation = pickle.loads((aside / _LESSONS).read_bytes())
    return partial(_fit_piece, aside, train, validation, seed, num_folds)


def _fit_piece(
    aside: Path, train: FusionTrainingData, validation: FusionTrainingData, seed: int, num_folds: int, piece: Piece
) -> Done:
    number, method = piece
    fitted = fit(method, train, validation, seed, num_folds=num_folds)
    if fitted.fuser is not None:
        (aside / str(number)).mkdir()
        CrossFitFuser(full=fitted.fuser, folds=fitted.folds).save(aside / str(number))
    return number, fitted.fit_s, fitted.error
