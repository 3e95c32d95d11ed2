"""Candidates of the judged queries, retrieved by the stage that serves.

They are the input of fusion search, ranker training and evaluation.
"""

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
from intarsia.experiments.out_of_fold_retrieval import FirstStage, group_by_stage, open_fold_stages
from intarsia.ids import ProductId, QueryId, ReleaseId, RequestId
from intarsia.lake import Lake
from intarsia.logs import log_warning
from intarsia.maths.arrays import Floats
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import JudgedQuery, Judgment, Split
from intarsia.records.query import EncodedQuery, Query
from intarsia.tables.judgments import JUDGMENTS, QUERIES, row_to_judgment, row_to_query

UNRELEASED = ReleaseId("unreleased")
"""The release id of candidates that are retrieved before the release exists."""

ReportProgress = Callable[[str, int, int], None]
"""(step, done, total)."""

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCandidates:
    """One judged query with its vectors and its candidates, not yet fused."""

    judged: JudgedQuery
    encoded: EncodedQuery
    candidates: Candidates


def as_query(judged: JudgedQuery, asked_at: datetime, *, limit: int = 10) -> Query:
    """A judged query as a request at the given time."""
    return Query(
        request_id=RequestId(str(judged.query_id)),
        text=judged.text,
        image=judged.image,
        locale=judged.locale,
        asked_at=asked_at,
        limit=limit,
    )


def catalog_time(retrieve: RetrieveStage) -> datetime:
    """The request time of judged queries: the newest change of the catalog; 1970 if none is dated.

    Reruns then see equal product ages.
    """
    times_s = retrieve.columns.updated_at_s
    newest_s = float(np.nanmax(times_s)) if np.isfinite(times_s).any() else 0.0
    return datetime.fromtimestamp(newest_s, UTC)


def check_judged(judged_QJ: Floats, split: Split) -> None:
    """Refuse a split without any relevant product.

    Args:
        judged_QJ: the judged grades of its queries, as `judged_grades` returns them.
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
    query_ids = {query.query_id for query in queries}
    judgments = JUDGMENTS.read(lake.current("judgments")).to_pylist()
    return queries, [row_to_judgment(r) for r in judgments if r["query_id"] in query_ids]


def judged_candidates(
    lake: Lake, config: EngineConfig, splits: Sequence[Split], report: ReportProgress
) -> list[JudgedCandidates]:
    """The candidates of the judged queries of some splits, ordered by id; those of train queries are out of fold."""
    by_stage = candidates_by_stage(lake, config, splits, report)
    candidates = [query for _, queries in by_stage for query in queries]
    return sorted(candidates, key=lambda query: str(query.judged.query_id))


def candidates_by_stage(
    lake: Lake, config: EngineConfig, splits: Sequence[Split], report: ReportProgress
) -> list[tuple[FirstStage, list[JudgedCandidates]]]:
    """The result of `judged_candidates`, grouped by the stage that retrieved them, the stage that serves first.

    If the text tower was trained on train queries, each train query is retrieved by the tower of its fold.
    """
    indexes = lake.current("indexes").path
    served = FirstStage(
        encoders=open_judged_encoders(lake), retrieve=open_retrieve(indexes, config=config, release_id=UNRELEASED)
    )
    queries, judgments = read_judged(lake, splits)
    groups = group_by_stage(queries, served, _fold_stages(lake, served))
    return [
        (stage, retrieve_judged(stage.encoders, stage.retrieve, group, judgments, report)) for stage, group in groups
    ]


def open_judged_encoders(lake: Lake) -> QueryEncoders:
    """The lake's query encoders, with the alignment heads of every fold of the train queries.

    A release has only the heads that serve.

    Raises:
        ReleaseMismatch: they do not belong to the lake's indexes or to its alignment.
    """
    encoders = open_query_encoders(lake.current("query_encoders").path, indexes=lake.current("indexes").path)
    if encoders.aligned is None or not lake.has("alignment"):
        return encoders
    alignment = Alignment.open(lake.current("alignment").path)
    if alignment.space_id != encoders.aligned.space_id:
        raise ReleaseMismatch(
            f"the lake's alignment is {alignment.space_id}, the query encoders hold {encoders.aligned.space_id}; "
            "run export_query_encoders again"
        )
    return replace(encoders, aligned=alignment)


def retrieve_judged(
    encoders: QueryEncoders,
    retrieve: RetrieveStage,
    queries: Sequence[JudgedQuery],
    judgments: Sequence[Judgment],
    report: ReportProgress,
) -> list[JudgedCandidates]:
    """Encode and retrieve judged queries one by one, as in serving."""
    asked_at = catalog_time(retrieve)
    encoded = (
        encoders.encode(as_query(judged, asked_at), judged_in_train=judged.split == "train") for judged in queries
    )
    return _retrieve_all(retrieve, queries, encoded, judgments, partial(report, "queries"))


def retrieve_again(
    retrieve: RetrieveStage, queries: Sequence[JudgedCandidates], judgments: Sequence[Judgment], report: ReportProgress
) -> list[JudgedCandidates]:
    """The same encoded queries, retrieved by another stage over the same products."""
    judged, encoded = [query.judged for query in queries], [query.encoded for query in queries]
    return _retrieve_all(retrieve, judged, encoded, judgments, partial(report, "queries again"))


def retrieve_one(retrieve: RetrieveStage, encoded: EncodedQuery, judged_rows: NDArray[np.int64]) -> Candidates:
    """The candidates of one query; among its judged products only if the stage's config says `judged_only`."""
    return retrieve.retrieve([encoded], among=[judged_rows if retrieve.config.judged_only else None])[0]


def row_numbers(retrieve: RetrieveStage) -> dict[ProductId, int]:
    """Row number by product id."""
    return {product_id: row for row, product_id in enumerate(retrieve.columns.product_ids)}


def _retrieve_all(
    retrieve: RetrieveStage,
    queries: Sequence[JudgedQuery],
    encoded: Iterable[EncodedQuery],
    judgments: Sequence[Judgment],
    report: Callable[[int, int], None],
) -> list[JudgedCandidates]:
    rows_by_query = _judged_rows(retrieve, judgments) if retrieve.config.judged_only else {}
    results = []
    for judged, query in zip(queries, encoded, strict=True):
        candidates = retrieve_one(retrieve, query, rows_by_query.get(judged.query_id, _NO_ROWS))
        results.append(JudgedCandidates(judged=judged, encoded=query, candidates=candidates))
        report(len(results), len(queries))
    return results


def _fold_stages(lake: Lake, served: FirstStage) -> tuple[FirstStage, ...]:
    """The fold stages of the tower that serves, over the current products; those of an earlier run are ignored."""
    space_id = served.encoders.text.space_id
    if lake.has("fold_indexes"):
        entry = lake.current("fold_indexes")
        if (entry.notes["space_id"], entry.notes.get("products")) == (space_id, lake.current("products").digest):
            return open_fold_stages(entry.path, served)
    if lake.has("text_tower") and lake.current("text_tower").notes.get("space_id") == space_id:
        log_warning(
            "tower_without_folds", space_id=space_id, fix="set finetune_text.folds and add embed_folds to the config"
        )
    return ()


def _judged_rows(retrieve: RetrieveStage, judgments: Sequence[Judgment]) -> dict[QueryId, NDArray[np.int64]]:
    """Rows of each query's judged products in the catalog, ascending."""
    numbers = row_numbers(retrieve)
    rows: dict[QueryId, list[int]] = {}
    for judgment in judgments:
        if (row := numbers.get(judgment.product_id)) is not None:
            rows.setdefault(judgment.query_id, []).append(row)
    return {query_id: np.array(sorted(query_rows), np.int64) for query_id, query_rows in rows.items()}
