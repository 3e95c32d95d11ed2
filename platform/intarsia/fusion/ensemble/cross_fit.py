"""A fuser with its fold fusers: for those who learn from fused candidates of the very queries that it was fitted on.

<folder>/                the fuser fitted on all train queries: what serves
<folder>/folds/folds.json  how many folds
<folder>/folds/<fold>/     the one fitted without that fold's queries
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from intarsia.errors import ArtifactError
from intarsia.fusion.ensemble.folds import fit_without
from intarsia.fusion.method import KindConfig
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.registry import fit_fuser, kind_of, open_fuser
from intarsia.ids import fold_of
from intarsia.lake import write_json

FOLDS, FOLDS_FILE = "folds", "folds.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedFuser:
    """The fuser of all train queries, and for each fold the one that never saw its queries; none where nothing was fitted."""

    full: Fuser
    folds: tuple[Fuser, ...] = ()

    def without(self, query_id: str) -> Fuser:
        """The fuser that a *train* query is fused by when something else learns from the result; all other queries go by `full`."""
        return self.folds[fold_of(query_id, len(self.folds))] if self.folds else self.full

    def save(self, folder: Path) -> None:
        """Write all of them; `open_fuser(folder)` opens the full one alone."""
        self.full.save(folder)
        if not self.folds:
            return
        for fold, fuser in enumerate(self.folds):
            (folder / FOLDS / str(fold)).mkdir(parents=True, exist_ok=True)
            fuser.save(folder / FOLDS / str(fold))
        write_json(folder / FOLDS / FOLDS_FILE, {"num_folds": len(self.folds)})


def fit_crossed(
    config: KindConfig, train: FusionTrainingData, validation: FusionTrainingData, *, num_folds: int, seed: int
) -> CrossedFuser:
    """Fit a kind on all train queries, and again without each fold's; a kind that is not fitted needs no folds.

    Raises:
        DataError: too few judged queries to leave some to every fold.
    """
    kind = kind_of(config.kind)
    if kind.fit_crossed is not None:
        together, folds = kind.fit_crossed(config, train, validation, num_folds, seed)
        return CrossedFuser(full=together, folds=folds)
    full = fit_fuser(config, train, validation, seed)
    if not kind.is_fitted:
        return CrossedFuser(full=full)
    return CrossedFuser(
        full=full,
        folds=fit_without(lambda others: fit_fuser(config, others, validation, seed), train, num_folds),
    )


def open_crossed(folder: Path, products: ProductVectors | None = None) -> CrossedFuser:
    """What `CrossedFuser.save`, or any fuser's own `save`, wrote.

    Raises:
        ArtifactError: nothing is there, or it is torn.
    """
    full = open_fuser(folder, products)
    path = folder / FOLDS / FOLDS_FILE
    if not path.is_file():
        return CrossedFuser(full=full)
    try:
        num_folds = int(json.loads(path.read_text(encoding="utf-8"))["num_folds"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} does not say how many folds there are: {error}; run search_fusion again") from None
    return CrossedFuser(
        full=full, folds=tuple(open_fuser(folder / FOLDS / str(fold), products) for fold in range(num_folds))
    )
