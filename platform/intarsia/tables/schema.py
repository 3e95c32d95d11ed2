"""A table's name, version and Arrow schema, and the one way its parts are written and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from intarsia.errors import ArtifactError
from intarsia.lake import Entry, Lake

_VERSION_KEY = b"intarsia_schema_version"
_PART_ROWS = 100_000
_ROW_GROUP_ROWS = 1024  # rows carry pictures: a reader holds one group at a time
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One table: `version` grows when the schema changes in a way that old readers cannot read."""

    name: str
    version: int
    schema: pa.Schema

    def from_rows(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Rows as an Arrow table of this schema; a missing key is null."""
        return pa.Table.from_pylist(list(rows), schema=self.schema)

    def write_part(self, table: pa.Table, folder: Path, number: int) -> Path:
        """Write one Parquet part, `part-00042.parquet`; the same rows give the same bytes."""
        path = folder / f"part-{number:05d}.parquet"
        marked = table.cast(self.schema).replace_schema_metadata({_VERSION_KEY: f"{self.name}/{self.version}".encode()})
        pq.write_table(marked, path, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
        return path

    def publish(self, lake: Lake, table: pa.Table) -> None:
        """Publish a whole table that is in memory, without pictures; an empty one has one part, so that it can be read."""
        with lake.publish(self.name) as folder:
            for number, begin in enumerate(range(0, max(table.num_rows, 1), _PART_ROWS)):
                self.write_part(table.slice(begin, _PART_ROWS), folder, number)

    def parts(self, entry: Entry) -> list[Path]:
        """The Parquet parts of a published version, in order.

        Raises:
            ArtifactError: a part is of another table or schema version.
        """
        paths = sorted(entry.path.glob("part-*.parquet"))
        for path in paths:
            found = (pq.read_schema(path).metadata or {}).get(_VERSION_KEY, b"none").decode()
            if found != f"{self.name}/{self.version}":
                raise ArtifactError(
                    f"{path} holds {found}; this code reads {self.name}/{self.version}: run the job that makes it again"
                )
        return paths

    def read(self, entry: Entry, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table, or some columns of it, in memory."""
        names = list(columns) if columns is not None else self.schema.names
        parts = [pq.read_table(path, columns=names) for path in self.parts(entry)]
        if not parts:
            return pa.schema([self.schema.field(n) for n in names]).empty_table()
        return pa.concat_tables(parts).replace_schema_metadata(None).select(names)

    def batches(
        self, entry: Entry, columns: Sequence[str] | None = None, *, num_rows: int = 256
    ) -> Iterator[pa.RecordBatch]:
        """The table piece by piece, in order, in bounded memory."""
        for path in self.parts(entry):
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(
                    batch_size=num_rows, columns=list(columns) if columns is not None else None
                )
