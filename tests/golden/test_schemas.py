"""The schema of each table as a text file per version: a change of a schema needs a new version.

After raising the version of a table, run `python tests/golden/test_schemas.py`: it writes the files of new versions,
and never changes an existing one.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import intarsia.tables
from intarsia.tables.schema import TableSpec
from intarsia.tables.training_rows import training_rows_spec

SCHEMAS = Path(__file__).parent / "schemas"
COMMAND = "python tests/golden/test_schemas.py"


def all_specs() -> dict[str, TableSpec]:
    """Every table by name; `training_rows` with two feature columns."""
    modules = [
        importlib.import_module(f"intarsia.tables.{m.name}") for m in pkgutil.iter_modules(intarsia.tables.__path__)
    ]
    specs = [value for module in modules for value in vars(module).values() if isinstance(value, TableSpec)]
    return {spec.name: spec for spec in [*specs, training_rows_spec(["first_feature", "second_feature"])]}


def schema_text(spec: TableSpec) -> str:
    """One line per column: name and Arrow type."""
    return "".join(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}\n" for field in spec.schema)


def file_of(spec: TableSpec) -> Path:
    return SCHEMAS / f"{spec.name}.v{spec.version}.txt"


@pytest.mark.parametrize("name", sorted(all_specs()))
def test_a_schema_equals_the_one_of_its_version(name: str) -> None:
    spec = all_specs()[name]
    assert file_of(spec).is_file(), f"{name} version {spec.version} is new: run {COMMAND} and commit its file"
    assert schema_text(spec) == file_of(spec).read_text(encoding="utf-8"), (
        f"{name} changed and is still version {spec.version}: raise the version in intarsia.tables, then run {COMMAND}"
    )


def test_every_schema_file_is_of_a_known_table_and_version() -> None:
    specs = all_specs()
    for path in SCHEMAS.glob("*.txt"):
        name, version = path.stem.split(".v")
        assert name in specs, f"{path.name}: no such table; remove the files of a removed table"
        assert int(version) <= specs[name].version, f"{path.name}: the code is at version {specs[name].version}"


def test_all_tables_are_covered() -> None:
    assert set(all_specs()) == {
        "products",
        "rejected_products",
        "events",
        "rejected_events",
        "queries",
        "judgments",
        "text_embeddings",
        "image_embeddings",
        "training_rows",
    }


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for spec in all_specs().values():
        if not file_of(spec).exists():
            file_of(spec).write_text(schema_text(spec), encoding="utf-8")
