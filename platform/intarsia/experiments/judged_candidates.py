"""The candidates of the judged queries, computed once by the very stage that serves: what fusion search and training read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from intarsia.encoders.aligned import Alignment
from intarsia.engine.config import EngineConfig
from intarsia.engine.encode import QueryEncoders
from intarsia.engine.retrieve import RetrieveStage
from intarsia.engine.search import open_query_encoders, open_retrieve
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.experiments.out_of_fold_retrieval import View, by_view, open_fold_views
from intarsia.ids import ProductId, QueryId, ReleaseId, RequestId
from intarsia.lake import Lake
from intarsia.logs import log_warning
from intarsia.maths.arrays import Floats
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import JudgedQuery, Judgment, Split
from intarsia.records.query import EncodedQuery, Query
from intarsia.tables.judgments import JUDGMENTS, QUERIES, row_to_judgment, row_to_query

UNRELEASED = ReleaseId("unreleased")
"""Stands where a release id would, while its parts are still being made."""

Report = Callable[[str, int, int], None]

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCandidates:
    """One judged query with its vectors and candidates, not yet fused."""

    judged: JudgedQuery
    encoded: EncodedQuery
    candidates: Candidates


def as_query(judged: JudgedQuery, asked_at: datetime, *, limit: int = 10) -> Query:
    """A judged query as if it were asked now."""
    return Query(
        request_id=RequestId(str(judged.query_id)),
        text=judged.text,
        image=judged.image,
        locale=judged.locale,
        asked_at=asked_at,
        limit=limit,
    )


def catalog_time(retrieve: RetrieveStage) -> datetime:
    """When judged queries are asked: the newest change of the catalog, so that a rerun sees the same ages; 1970 when none is dated."""
    times_s = retrieve.columns.updated_at_s
    newest_s = float(np.nanmax(times_s)) if np.isfinite(times_s).any() else 0.0
    return datetime.fromtimestamp(newest_s, UTC)


def check_judged(judged_QJ: Floats, split: Split) -> None:
    """Refuse a split of which nothing can be learned or chosen.

    Args:
        judged_QJ: the judged grades of its queries, as `judged_grades` gives them.
        split: its name.

    Raises:
        DataError: no product is relevant to any query.
    """
    if not (judged_QJ > 0).any():
        raise DataError(
            table="judgments",
            field="grade",
            found=f"none above 0 for the {len(judged_QJ)} queries of split {split}",
            allowed=f"some relevant product for queries of split {split}",
            fix=f"judge queries of split {split}, or correct the split of the queries",
        )


def read_judged(lake: Lake, splits: Sequence[Split]) -> tuple[list[JudgedQuery], list[Judgment]]:
    """The judged queries of some splits, ordered by id, and their judgments."""
    rows = QUERIES.read(lake.current("queries")).to_pylist()
    queries = sorted((row_to_query(r) for r in rows if r["split"] in splits), key=lambda q: str(q.query_id))
    wanted = {q.query_id for q in queries}
    judgments = JUDGMENTS.read(lake.current("judgments")).to_pylist()
    return queries, [row_to_judgment(r) for r in judgments if r["query_id"] in wanted]


def judged_candidates(
    lake: Lake, config: EngineConfig, splits: Sequence[Split], report: Report
) -> list[JudgedCandidates]:
    """The judged queries of some splits against the lake's current indexes, ordered by id; train queries as `judged_by_view` says."""
    found = [each for _, some in judged_by_view(lake, config, splits, report) for each in some]
    return sorted(found, key=lambda each: str(each.judged.query_id))


def judged_by_view(
    lake: Lake, config: EngineConfig, splits: Sequence[Split], report: Report
) -> list[tuple[View, list[JudgedCandidates]]]:
    """The same by what answered them, the stage that serves first.

    Where the text tower learned from train queries, each of these is answered by the tower of its fold.
    """
    indexes = lake.current("indexes").path
    served = View(
        encoders=open_judged_encoders(lake), retrieve=open_retrieve(indexes, config=config, release_id=UNRELEASED)
    )
    queries, judgments = read_judged(lake, splits)
    views = by_view(queries, served, _fold_views(lake, served))
    return [(view, retrieve_judged(view.encoders, view.retrieve, some, judgments, report)) for view, some in views]


def open_judged_encoders(lake: Lake) -> QueryEncoders:
    """The lake's query encoders with the heads that did not see each fold of the train queries; what serves carries none of them.

    Raises:
        ReleaseMismatch: they are not of the lake's indexes, or not of its alignment.
    """
    encoders = open_query_encoders(lake.current("query_encoders").path, indexes=lake.current("indexes").path)
    if encoders.aligned is None or not lake.has("alignment"):
        return encoders
    whole = Alignment.open(lake.current("alignment").path)
    if whole.space_id != encoders.aligned.space_id:
        raise ReleaseMismatch(
            f"the lake's alignment is {whole.space_id}, the query encoders hold {encoders.aligned.space_id}; "
            "run export_query_encoders again"
        )
    return replace(encoders, aligned=whole)


def _fold_views(lake: Lake, served: View) -> tuple[View, ...]:
    """Those of the tower that serves, over these products; folds of others, left from an earlier run, are none."""
    space_id = served.encoders.text.space_id
    if lake.has("fold_indexes"):
        entry = lake.current("fold_indexes")
        if (entry.notes["space_id"], entry.notes.get("products")) == (space_id, lake.current("products").digest):
            return open_fold_views(entry.path, served)
    if lake.has("text_tower") and lake.current("text_tower").notes.get("space_id") == space_id:
        log_warning(
            "tower_without_folds", space_id=space_id, mend="set finetune_text.folds and add embed_folds to the config"
        )
    return ()


def retrieve_judged(
    encoders: QueryEncoders,
    retrieve: RetrieveStage,
    queries: Sequence[JudgedQuery],
    judgments: Sequence[Judgment],
    report: Report,
) -> list[JudgedCandidates]:
    """Encode and retrieve judged queries, each as it would be asked online."""
    asked_at = catalog_time(retrieve)
    encoded = (
        (judged, encoders.encode(as_query(judged, asked_at), judged_in_train=judged.split == "train"))
        for judged in queries
    )
    return _retrieved(retrieve, encoded, judgments, partial(report, "queries"), len(queries))


def retrieve_again(
    retrieve: RetrieveStage, found: Sequence[JudgedCandidates], judgments: Sequence[Judgment], report: Report
) -> list[JudgedCandidates]:
    """The same queries, as they were encoded, asked of another stage over the same products."""
    encoded = ((each.judged, each.encoded) for each in found)
    return _retrieved(retrieve, encoded, judgments, partial(report, "queries again"), len(found))


def _retrieved(
    retrieve: RetrieveStage,
    queries: Iterable[tuple[JudgedQuery, EncodedQuery]],
    judgments: Sequence[Judgment],
    report: Callable[[int, int], None],
    total: int,
) -> list[JudgedCandidates]:
    judged_only = retrieve.config.judged_only
    rows_of = _judged_rows(retrieve, judgments) if judged_only else {}
    found = []
    for number, (judged, encoded) in enumerate(queries, start=1):
        only = rows_of.get(judged.query_id, _NO_ROWS) if judged_only else None
        candidates = retrieve.retrieve([encoded], among=[only])[0]
        found.append(JudgedCandidates(judged=judged, encoded=encoded, candidates=candidates))
        report(number, total)
    return found


def row_numbers(retrieve: RetrieveStage) -> dict[ProductId, int]:
    """Product id -> row number."""
    return {product_id: row for row, product_id in enumerate(retrieve.columns.product_ids)}


def _judged_rows(retrieve: RetrieveStage, judgments: Sequence[Judgment]) -> dict[QueryId, NDArray[np.int64]]:
    numbers = row_numbers(retrieve)
    rows: dict[QueryId, list[int]] = {}
    for judgment in judgments:
        if (row := numbers.get(judgment.product_id)) is not None:
            rows.setdefault(judgment.query_id, []).append(row)
    return {query_id: np.array(sorted(each), np.int64) for query_id, each in rows.items()}
