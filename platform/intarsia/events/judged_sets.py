"""Judged sets that people wrote: queries with their split, and grades of products. A wrong row stops the run: a judged set is small, and
every metric stands on it. Reading files is not this room's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from intarsia.config import setting
from intarsia.errors import DataError
from intarsia.ids import ProductId, QueryId
from intarsia.records.judgment import SPLITS, JudgedQuery, Judgment, Split
from intarsia.text import clean, detect_locale

RawRows = Iterable[tuple[int, Mapping[str, Any]]]
"""Rows of a file with their numbers from 1."""

_HASH_SPLITS: tuple[Split, ...] = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class QueriesMapping:
    """Which column of the queries file is what; the defaults fit the generated market. Rows may leave `image` and `locale_column` out."""

    file: str = setting("queries file, relative to the data's folder", "queries.jsonl")
    query_id: str | None = setting(
        "column of the id; nothing: the id is made from the text, equal texts are one query", "query_id"
    )
    text: str | None = setting("column of the words", "text")
    image: str | None = setting("column of the picture's file name, relative to the data's folder", "image")
    locale: Literal["detect", "en", "zh"] = setting("language of all queries, or detect", "detect")
    locale_column: str | None = setting("column of the language; where it is empty `locale` counts", "lang")
    split: Literal["column", "hash", "constant"] = setting(
        "column: the file says it; hash: 60/20/20 by blake2b of the lower-cased text; constant: all `split_value`",
        "column",
    )
    split_column: str = setting("column with train, validation or test; no effect unless split is column", "split")
    split_value: Split = setting("no effect unless split is constant", "test")

    def __post_init__(self) -> None:
        if self.query_id is None and self.text is None:
            raise ValueError("queries need the column of their id or of their text")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgmentsMapping:
    """Which column of the judgments file is what; the defaults fit the generated market."""

    file: str = setting("judgments file, relative to the data's folder", "judgments.tsv")
    query_id: str | None = setting("column of the query's id; nothing: the id is made from `query_text`", "query_id")
    query_text: str | None = setting("column of the query's text; no effect where there is an id", None)
    product_id: str = setting("column of the product's id", "product_id")
    grade: str = setting("column of the grade", "gain")
    grades: Mapping[str, float] = setting(
        "grade as the file says it -> ours, 0 to 3; nothing: the number itself", factory=dict
    )

    def __post_init__(self) -> None:
        if self.query_id is None and self.query_text is None:
            raise ValueError("judgments need the column of the query's id or of its text")
        for told, grade in self.grades.items():
            if not 0 <= grade <= 3:
                raise ValueError(f"grades.{told} is {grade}; allowed: 0 to 3")


def read_queries(rows: RawRows, mapping: QueriesMapping, folder: Path) -> list[JudgedQuery]:
    """The queries of a file, by id.

    Raises:
        DataError: a row without what the mapping names, an id for two different queries, an unknown split or locale, a missing picture.
    """
    queries: dict[QueryId, JudgedQuery] = {}
    for number, row in rows:
        query = _query(number, row, mapping, folder)
        if queries.setdefault(query.query_id, query) != query:
            raise DataError(
                table=mapping.file,
                row=number,
                field="query_id",
                found=query.query_id,
                allowed="one query per id",
                fix="give each query its own id",
            )
    if not queries:
        raise DataError(
            table=mapping.file, field="rows", found=0, allowed="1 or more", fix="write the judged queries into it"
        )
    return [queries[query_id] for query_id in sorted(queries)]


def read_judgments(rows: RawRows, mapping: JudgmentsMapping, query_ids: Iterable[QueryId]) -> list[Judgment]:
    """The judgments of a file, by query and product.

    Raises:
        DataError: a row without what the mapping names, a grade that is not 0..3, two grades for one pair, or queries that nobody knows.
    """
    known = frozenset(query_ids)
    judgments: dict[tuple[QueryId, ProductId], Judgment] = {}
    unknown: list[tuple[int, QueryId]] = []
    for number, row in rows:
        judgment = _judgment(number, row, mapping)
        pair = judgment.query_id, judgment.product_id
        if judgment.query_id not in known:
            unknown.append((number, judgment.query_id))
        elif judgments.setdefault(pair, judgment) != judgment:
            raise DataError(
                table=mapping.file,
                row=number,
                field="grade",
                found=judgment.grade,
                allowed=f"{judgments[pair].grade}, as it was judged before",
                fix=f"judge product {judgment.product_id} for query {judgment.query_id} once",
            )
    if unknown:
        number, query_id = unknown[0]
        raise DataError(
            table=mapping.file,
            row=number,
            field="query_id",
            found=f"{query_id} and {len(unknown) - 1} more rows of unknown queries",
            allowed="ids of the queries file",
            fix="add the queries, or take their judgments out",
        )
    return [judgments[pair] for pair in sorted(judgments)]


def hash_split(text: str) -> Split:
    """The split of a query by its text alone: stable when queries come and go, equal for equal texts in any case.

    blake2b of 4 bytes, as a number modulo 10: 0-5 train, 6-7 validation, 8-9 test.
    """
    return _HASH_SPLITS[int(hashlib.blake2b(text.lower().encode(), digest_size=4).hexdigest(), 16) % 10]


def id_of_text(text: str) -> QueryId:
    """The id of a query that has none: equal texts in any case have one id."""
    return QueryId("t-" + hashlib.blake2b(text.lower().encode(), digest_size=8).hexdigest())


def _query(number: int, row: Mapping[str, Any], mapping: QueriesMapping, folder: Path) -> JudgedQuery:
    place = _Place(mapping.file, number, row)
    text = place.text(mapping.text) if mapping.text else ""
    query_id = (
        QueryId(place.required(mapping.query_id)) if mapping.query_id else id_of_text(place.required(mapping.text))
    )
    name = place.optional(mapping.image)
    image = _image(place, mapping, folder / name) if name else None
    try:
        return JudgedQuery(
            query_id=query_id,
            text=clean(text) or None,
            image=image,
            locale=_locale(place, mapping, text),
            split=_split(place, mapping, text or query_id),
        )
    except ValueError as error:
        raise place.error("query", query_id, str(error), "correct the row") from None


def _split(place: _Place, mapping: QueriesMapping, text: str) -> Split:
    if mapping.split == "constant":
        return mapping.split_value
    if mapping.split == "hash":
        return hash_split(text)
    told = place.required(mapping.split_column)
    if told not in SPLITS:
        raise place.error(
            mapping.split_column, told, ", ".join(SPLITS), "correct the row, or set queries.split to hash"
        )
    return told


def _locale(place: _Place, mapping: QueriesMapping, text: str) -> str:
    told = place.optional(mapping.locale_column)
    if not told:
        return detect_locale(text) if mapping.locale == "detect" else mapping.locale
    language = told.lower().replace("_", "-").split("-")[0]
    if language not in ("en", "zh"):
        raise place.error(str(mapping.locale_column), told, "en, zh", "correct the row, or leave it empty")
    return language


def _image(place: _Place, mapping: QueriesMapping, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise place.error(
            str(mapping.image), str(path), "a file", "put the picture there, or correct its name"
        ) from None


def _judgment(number: int, row: Mapping[str, Any], mapping: JudgmentsMapping) -> Judgment:
    place = _Place(mapping.file, number, row)
    own_id = place.required(mapping.query_id) if mapping.query_id else None
    query_id = QueryId(own_id) if own_id else id_of_text(place.required(mapping.query_text))
    told = place.required(mapping.grade)
    try:
        grade = mapping.grades[told] if mapping.grades else float(told)
        return Judgment(query_id=query_id, product_id=ProductId(place.required(mapping.product_id)), grade=grade)
    except (KeyError, ValueError):
        allowed = ", ".join(mapping.grades) if mapping.grades else "0 to 3"
        raise place.error(
            mapping.grade, told, allowed, "correct the row, or map the grade in judgments.grades"
        ) from None


@dataclass(frozen=True, slots=True)
class _Place:
    """A row with where it stands."""

    file: str
    number: int
    row: Mapping[str, Any]

    def text(self, column: str) -> str:
        if column not in self.row:
            raise self.error("column", column, ", ".join(map(str, self.row)), "correct the mapping of the judged set")
        cell = self.row[column]
        return "" if cell is None else str(cell).strip()

    def optional(self, column: str | None) -> str:
        return self.text(column) if column is not None and column in self.row else ""

    def required(self, column: str | None) -> str:
        assert column is not None, "checked when the mapping was built"
        if not (text := self.text(column)):
            raise self.error(column, "", "a value", "fill it in, or take the row out")
        return text

    def error(self, field: str, found: object, allowed: str, fix: str) -> DataError:
        return DataError(table=self.file, row=self.number, field=field, found=found, allowed=allowed, fix=fix)
