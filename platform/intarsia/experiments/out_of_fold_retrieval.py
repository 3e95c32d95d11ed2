"""Out-of-fold retrieval of train queries: each is retrieved by the text tower of its fold, which was not trained on it.

A tower ranks the products of its own train queries better than those of other queries. Fusion and ranker fitted on such
cosines would weigh them too high. Validation and test queries, which no tower was trained on, are retrieved by the
stage that serves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from intarsia.encoders.open import Precision, open_query_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.engine.encode import QueryEncoders
from intarsia.engine.retrieve import RetrieveStage
from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.ids import fold_of
from intarsia.index.vector_files import open_vector_index
from intarsia.records.judgment import JudgedQuery

TEXT_INDEX, QUERY_ENCODER = "text", "query"
"""Folders of one fold: the catalog's vectors, and the exported query encoder."""
FOLDS_MANIFEST = "manifest.json"
"""In the entry's folder: the number of products."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStage:
    """A retrieve stage and the encoders of its queries."""

    encoders: QueryEncoders
    retrieve: RetrieveStage


def open_fold_stages(folder: Path, served: FirstStage, *, precision: Precision = "int8") -> tuple[FirstStage, ...]:
    """One stage per fold; only the text vectors and the text encoder differ from the served stage.

    Args:
        folder: folder of the lake entry `fold_indexes`.
        served: the stage that serves.
        precision: precision of the folds' query encoders, the same as in serving.

    Raises:
        ArtifactError: the folder has no fold.
        ReleaseMismatch: a fold's vectors belong to another encoder or another catalog.
    """
    fold_folders = sorted((p for p in folder.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    if not fold_folders:
        raise ArtifactError(f"{folder} holds no folds; run `intarsia job embed_folds`")
    num_rows = json.loads((folder / FOLDS_MANIFEST).read_text(encoding="utf-8"))["num_rows"]
    if num_rows != served.retrieve.columns.num_rows:
        raise ReleaseMismatch(
            f"the folds hold {num_rows} products, the catalog {served.retrieve.columns.num_rows}; "
            "run `intarsia job embed_folds` again"
        )
    return tuple(_open_fold(fold_folder, served, precision) for fold_folder in fold_folders)


def group_by_stage(
    queries: Sequence[JudgedQuery], served: FirstStage, folds: Sequence[FirstStage]
) -> list[tuple[FirstStage, list[JudgedQuery]]]:
    """The queries of each stage, the served one first.

    A train query belongs to the stage of its fold, if there are folds.
    """
    groups: list[tuple[FirstStage, list[JudgedQuery]]] = [(stage, []) for stage in (served, *folds)]
    for query in queries:
        number = 1 + fold_of(str(query.query_id), len(folds)) if folds and query.split == "train" else 0
        groups[number][1].append(query)
    return groups


def _open_fold(folder: Path, served: FirstStage, precision: Precision) -> FirstStage:
    index = open_vector_index(folder / TEXT_INDEX)
    encoder = open_query_encoder(folder / QUERY_ENCODER, precision=precision)
    if encoder.space_id != index.space_id:
        raise ReleaseMismatch(
            f"fold {folder.name} holds vectors of space {index.space_id}, its query encoder makes {encoder.space_id}; "
            "run `intarsia job embed_folds` again"
        )
    vectors = {**served.retrieve.vectors, "text": index}
    return FirstStage(
        encoders=replace(served.encoders, text=cast("Encoder[str]", encoder), aligned_text=served.encoders.text),
        retrieve=replace(served.retrieve, vectors=vectors),
    )
