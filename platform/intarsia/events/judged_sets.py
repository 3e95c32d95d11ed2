"""Parse judged sets: queries with their split, and graded products.

An invalid row is an error, since every metric depends on the judged set.
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

NumberedRows = Iterable[tuple[int, Mapping[str, Any]]]
"""Rows of a file, each with its number from 1."""

_HASH_SPLITS: tuple[Split, ...] = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class QueriesMapping:
    """Maps the columns of the queries file; the defaults fit the generated market.

    Rows may lack the columns `image` and `locale_column`.
    """

    file: str = setting("queries file, relative to the data folder", "queries.jsonl")
    query_id: str | None = setting(
        "column of the id; null: the id is derived from the text, equal texts are one query", "query_id"
    )
    text: str | None = setting("column of the query text", "text")
    image: str | None = setting("column of the image file name, relative to the data folder", "image")
    locale: Literal["detect", "en", "zh"] = setting("language of all queries, or detect", "detect")
    locale_column: str | None = setting("column of the language; `locale` is used where it is empty", "lang")
    split: Literal["column", "hash", "constant"] = setting(
        "column: from `split_column`; hash: 60/20/20 by blake2b of the lower-cased text; constant: `split_value`",
        "column",
    )
    split_column: str = setting("column with train, validation or test; used when split is column", "split")
    split_value: Split = setting("split of all queries; used when split is constant", "test")

    def __post_init__(self) -> None:
        if self.query_id is None and self.text is None:
            raise ValueError("queries need the column of their id or of their text")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgmentsMapping:
    """Maps the columns of the judgments file; the defaults fit the generated market."""

    file: str = setting("judgments file, relative to the data folder", "judgments.tsv")
    query_id: str | None = setting("column of the query id; null: the id is derived from `query_text`", "query_id")
    query_text: str | None = setting("column of the query text; used when query_id is null", None)
    product_id: str = setting("column of the product id", "product_id")
    grade: str = setting("column of the grade", "gain")
    grades: Mapping[str, float] = setting("grade in the file -> grade 0 to 3; empty: the number itself", factory=dict)

    def __post_init__(self) -> None:
        if self.query_id is None and self.query_text is None:
            raise ValueError("judgments need the column of the query's id or of its text")
        for file_grade, grade in self.grades.items():
            if not 0 <= grade <= 3:
                raise ValueError(f"grades.{file_grade} is {grade}; allowed: 0 to 3")


def read_queries(rows: NumberedRows, mapping: QueriesMapping, folder: Path) -> list[JudgedQuery]:
    """Parse the queries of a file; sorted by id.

    Raises:
        DataError: a column or value is missing, two different queries have one id, a split or locale is unknown, an
            image file is missing, or there are no queries.
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


def read_judgments(rows: NumberedRows, mapping: JudgmentsMapping, query_ids: Iterable[QueryId]) -> list[Judgment]:
    """Parse the judgments of a file; sorted by query and product.

    Raises:
        DataError: a column or value is missing, a grade is not in 0..3, a pair has two grades, or a query is unknown.
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
            fix="add the queries, or remove their judgments",
        )
    return [judgments[pair] for pair in sorted(judgments)]


def hash_split(text: str) -> Split:
    """Assign a query to a split by its text alone; the letter case does not matter.

    blake2b of 4 bytes, as a number modulo 10: 0-5 train, 6-7 validation, 8-9 test.
    """
    return _HASH_SPLITS[int(hashlib.blake2b(text.lower().encode(), digest_size=4).hexdigest(), 16) % 10]


def query_id_from_text(text: str) -> QueryId:
    """Derive a query id from a text; the letter case does not matter."""
    return QueryId("t-" + hashlib.blake2b(text.lower().encode(), digest_size=8).hexdigest())


def _query(number: int, row: Mapping[str, Any], mapping: QueriesMapping, folder: Path) -> JudgedQuery:
    cells = _RowReader(mapping.file, number, row)
    text = cells.text(mapping.text) if mapping.text else ""
    query_id = (
        QueryId(cells.required(mapping.query_id))
        if mapping.query_id
        else query_id_from_text(cells.required(mapping.text))
    )
    name = cells.optional(mapping.image)
    image = _image(cells, mapping, folder / name) if name else None
    try:
        return JudgedQuery(
            query_id=query_id,
            text=clean(text) or None,
            image=image,
            locale=_locale(cells, mapping, text),
            split=_split(cells, mapping, text or query_id),
        )
    except ValueError as error:
        raise cells.error("query", query_id, str(error), "correct the row") from None


def _split(cells: _RowReader, mapping: QueriesMapping, text: str) -> Split:
    if mapping.split == "constant":
        return mapping.split_value
    if mapping.split == "hash":
        return hash_split(text)
    split = cells.required(mapping.split_column)
    if split not in SPLITS:
        raise cells.error(
            mapping.split_column, split, ", ".join(SPLITS), "correct the row, or set queries.split to hash"
        )
    return split


def _locale(cells: _RowReader, mapping: QueriesMapping, text: str) -> str:
    locale = cells.optional(mapping.locale_column)
    if not locale:
        return detect_locale(text) if mapping.locale == "detect" else mapping.locale
    language = locale.lower().replace("_", "-").split("-")[0]
    if language not in ("en", "zh"):
        raise cells.error(str(mapping.locale_column), locale, "en, zh", "correct the row, or leave it empty")
    return language


def _image(cells: _RowReader, mapping: QueriesMapping, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise cells.error(str(mapping.image), str(path), "a file", "put the image there, or correct its name") from None


def _judgment(number: int, row: Mapping[str, Any], mapping: JudgmentsMapping) -> Judgment:
    cells = _RowReader(mapping.file, number, row)
    own_id = cells.required(mapping.query_id) if mapping.query_id else None
    query_id = QueryId(own_id) if own_id else query_id_from_text(cells.required(mapping.query_text))
    file_grade = cells.required(mapping.grade)
    try:
        grade = mapping.grades[file_grade] if mapping.grades else float(file_grade)
        return Judgment(query_id=query_id, product_id=ProductId(cells.required(mapping.product_id)), grade=grade)
    except (KeyError, ValueError):
        allowed = ", ".join(mapping.grades) if mapping.grades else "0 to 3"
        raise cells.error(
            mapping.grade, file_grade, allowed, "correct the row, or map the grade in judgments.grades"
        ) from None


@dataclass(frozen=True, slots=True)
class _RowReader:
    """Reads the cells of one row; its errors name the file and the row."""

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
        assert column is not None, "checked by the mapping"
        if not (text := self.text(column)):
            raise self.error(column, "", "a value", "fill it in, or remove the row")
        return text

    def error(self, field: str, found: object, allowed: str, fix: str) -> DataError:
        return DataError(table=self.file, row=self.number, field=field, found=found, allowed=allowed, fix=fix)
