"""Name, version and Arrow schema of a table; writing and reading its Parquet parts."""

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
_ROW_GROUP_ROWS = 1024  # rows hold images, and a reader holds one row group at a time
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One table; `version` is raised when the schema changes so that old readers cannot read it."""

    name: str
    version: int
    schema: pa.Schema

    def from_rows(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Convert rows to an Arrow table of this schema; a missing key becomes null."""
        return pa.Table.from_pylist(list(rows), schema=self.schema)

    def write_part(self, table: pa.Table, folder: Path, number: int) -> Path:
        """Write one Parquet part (`part-00042.parquet`); equal rows give equal bytes."""
        path = folder / f"part-{number:05d}.parquet"
        marked = table.cast(self.schema).replace_schema_metadata({_VERSION_KEY: f"{self.name}/{self.version}".encode()})
        pq.write_table(marked, path, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
        return path

    def publish(self, lake: Lake, table: pa.Table) -> None:
        """Publish a table that is in memory; an empty one has one part, so that it can be read."""
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
            version = (pq.read_schema(path).metadata or {}).get(_VERSION_KEY, b"none").decode()
            if version != f"{self.name}/{self.version}":
                raise ArtifactError(
                    f"{path} holds {version}; this code reads {self.name}/{self.version}. "
                    "Fix: run the job that writes it again"
                )
        return paths

    def read(self, entry: Entry, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the table, or some of its columns, into memory."""
        names = list(columns) if columns is not None else self.schema.names
        parts = [pq.read_table(path, columns=names) for path in self.parts(entry)]
        if not parts:
            return pa.schema([self.schema.field(n) for n in names]).empty_table()
        return pa.concat_tables(parts).replace_schema_metadata(None).select(names)

    def batches(
        self, entry: Entry, columns: Sequence[str] | None = None, *, num_rows: int = 256
    ) -> Iterator[pa.RecordBatch]:
        """Yield the table in batches of at most `num_rows` rows, in order."""
        for path in self.parts(entry):
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(
                    batch_size=num_rows, columns=list(columns) if columns is not None else None
                )
