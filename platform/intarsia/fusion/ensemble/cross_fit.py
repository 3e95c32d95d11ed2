"""Cross-fitting: a fuser together with one out-of-fold fuser per fold of its train queries.

A model that trains on fused scores of the fuser's own train queries uses the out-of-fold fusers, so that it does not
train on leaked grades.

<folder>/                  the fuser fitted on all train queries; it is the one that serves
<folder>/folds/folds.json  the number of folds
<folder>/folds/<fold>/     the fuser fitted without the queries of that fold
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from intarsia.errors import ArtifactError
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.registry import fit_fuser, open_fuser, registered_method
from intarsia.fusion.training_data import fit_per_fold
from intarsia.ids import fold_of
from intarsia.lake import write_json

FOLDS, FOLDS_FILE = "folds", "folds.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFitFuser:
    """A fuser and its out-of-fold fusers.

    Attributes:
        full: fitted on all train queries.
        folds: one per fold, fitted without the fold's queries; empty if the method is not fitted.
    """

    full: Fuser
    folds: tuple[Fuser, ...] = ()

    def out_of_fold(self, query_id: str) -> Fuser:
        """Return the fuser for a *train* query whose scores train another model; for other queries use `full`."""
        return self.folds[fold_of(query_id, len(self.folds))] if self.folds else self.full

    def save(self, folder: Path) -> None:
        """Save all fusers; `open_fuser(folder)` opens `full` only."""
        self.full.save(folder)
        if not self.folds:
            return
        for fold, fuser in enumerate(self.folds):
            (folder / FOLDS / str(fold)).mkdir(parents=True, exist_ok=True)
            fuser.save(folder / FOLDS / str(fold))
        write_json(folder / FOLDS / FOLDS_FILE, {"num_folds": len(self.folds)})


def cross_fit(
    config: MethodConfig, train: FusionTrainingData, validation: FusionTrainingData, *, num_folds: int, seed: int
) -> CrossFitFuser:
    """Fit a method on all train queries, and once per fold without the fold's queries.

    A method that is not fitted has no folds.

    Raises:
        DataError: no candidate of a train query is relevant, or the queries outside some fold have none.
    """
    method = registered_method(config.kind)
    if method.cross_fit is not None:
        full, folds = method.cross_fit(config, train, validation, num_folds, seed)
        return CrossFitFuser(full=full, folds=folds)
    full = fit_fuser(config, train, validation, seed)
    if not method.is_fitted:
        return CrossFitFuser(full=full)
    return CrossFitFuser(
        full=full,
        folds=fit_per_fold(lambda others: fit_fuser(config, others, validation, seed), train, num_folds),
    )


def open_cross_fit(folder: Path, products: ProductVectors | None = None) -> CrossFitFuser:
    """Open what `CrossFitFuser.save`, or the `save` of any fuser, wrote.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    full = open_fuser(folder, products)
    path = folder / FOLDS / FOLDS_FILE
    if not path.is_file():
        return CrossFitFuser(full=full)
    try:
        num_folds = int(json.loads(path.read_text(encoding="utf-8"))["num_folds"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} does not give the number of folds: {error}. Fix: run search_fusion again"
        ) from None
    return CrossFitFuser(
        full=full, folds=tuple(open_fuser(folder / FOLDS / str(fold), products) for fold in range(num_folds))
    )
