"""The first stage as a train query must meet it: by the text tower of its fold, which has not learned from it.

A tower that learned from a query ranks that query's products far better than it will rank anyone else's; what is then fitted on such
cosines trusts them too much. Validation and test queries, which no tower saw, are answered as they will be served.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from intarsia.encoders.open import open_query_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.engine.encode import Precision, QueryEncoders
from intarsia.engine.retrieve import RetrieveStage
from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.ids import fold_of
from intarsia.index.vector_files import open_vector_index
from intarsia.records.judgment import JudgedQuery

TEXT_INDEX, QUERY_SIDE, MANIFEST = "text", "query", "manifest.json"
"""Folders of one fold, its catalog's vectors and its exported query encoder; beside the folds, how many products they hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A first stage and what encodes its queries."""

    encoders: QueryEncoders
    retrieve: RetrieveStage


def open_fold_views(folder: Path, served: View, *, precision: Precision = "int8") -> tuple[View, ...]:
    """One view per fold; all but the text vectors is the served one's.

    Args:
        folder: of the lake entry `fold_indexes`.
        served: the view that serves.
        precision: of the folds' query encoders, the same as that of the served one.

    Raises:
        ArtifactError: no fold lies there.
        ReleaseMismatch: a fold's vectors are not its encoder's, or of another catalog.
    """
    places = sorted((p for p in folder.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    if not places:
        raise ArtifactError(f"{folder} holds no folds; run python -m pipelines.embed_folds")
    num_rows = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["num_rows"]
    if num_rows != served.retrieve.columns.num_rows:
        raise ReleaseMismatch(
            f"the folds hold {num_rows} products, the catalog {served.retrieve.columns.num_rows}; run python -m pipelines.embed_folds again"
        )
    return tuple(_open_one(place, served, precision) for place in places)


def by_view(
    queries: Sequence[JudgedQuery], served: View, folds: Sequence[View]
) -> list[tuple[View, list[JudgedQuery]]]:
    """The queries of each view, the served one first; a train query belongs to its fold's, where there are folds."""
    groups: list[tuple[View, list[JudgedQuery]]] = [(view, []) for view in (served, *folds)]
    for query in queries:
        number = 1 + fold_of(str(query.query_id), len(folds)) if folds and query.split == "train" else 0
        groups[number][1].append(query)
    return groups


def _open_one(place: Path, served: View, precision: Precision) -> View:
    index = open_vector_index(place / TEXT_INDEX)
    encoder = open_query_encoder(place / QUERY_SIDE, precision=precision)
    if encoder.space_id != index.space_id:
        raise ReleaseMismatch(
            f"fold {place.name} holds vectors of space {index.space_id}, its query encoder makes {encoder.space_id}; "
            "run python -m pipelines.embed_folds again"
        )
    vectors = {**served.retrieve.vectors, "text": index}
    return View(
        encoders=replace(served.encoders, text=cast("Encoder[str]", encoder), aligned_text=served.encoders.text),
        retrieve=replace(served.retrieve, vectors=vectors),
    )
