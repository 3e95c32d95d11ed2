"""Errors of a feature set, and that its fingerprint changes with every change of a feature."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import intarsia.features
from intarsia.errors import DataError
from intarsia.features.assemble import FRAME_VERSION, Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.definition import Feature, FeatureSet, feature
from intarsia.features.stats import ProductStats
from intarsia.records.feature_matrix import CandidateFrame
from tests.feature_cases import Item, candidates_of, columns_of, encoded_query

LIBRARY = Path(intarsia.features.__file__).parents[1]


@feature(version=1, reads=("a", "b"))
def total(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sum."""
    return a + b


@feature(version=3, reads=("a",), name="other")
def half(a: np.ndarray) -> np.ndarray:
    return a / 2


def frame(**columns: np.ndarray) -> CandidateFrame:
    return CandidateFrame(columns=columns, group_offsets=np.array([0, 2], np.int64))


def test_a_feature_has_the_name_of_its_function_by_default() -> None:
    assert (total.name, total.summary, half.name, half.version) == ("total", "The sum.", "other", 3)


def test_the_matrix_has_a_column_per_feature_in_order() -> None:
    features = FeatureSet((total, half), frame_version=1)
    matrix = features.compute(frame(a=np.array([1.0, 4.0]), b=np.array([2.0, np.nan])))
    assert matrix.names == ("total", "other")
    assert matrix.fingerprint == features.fingerprint
    assert np.array_equal(matrix.values_nF, np.array([[3.0, 0.5], [np.nan, 2.0]], np.float32), equal_nan=True)


def test_a_missing_column_is_named_with_its_reader() -> None:
    with pytest.raises(
        DataError, match=r"feature total.*b is 'no such column'; allowed: a\. Fix: add the column in features/assemble"
    ):
        FeatureSet((total,), frame_version=1).compute(frame(a=np.zeros(2)))


@pytest.mark.parametrize(
    "changed",
    [
        FeatureSet((half, total), frame_version=1),
        FeatureSet((total,), frame_version=1),
        FeatureSet((total, half), frame_version=2),
        FeatureSet((total, dataclasses.replace(half, version=4)), frame_version=1),
        FeatureSet((total, dataclasses.replace(half, name="third")), frame_version=1),
        FeatureSet((dataclasses.replace(total, reads=("b", "a")), half), frame_version=1),
    ],
    ids=["order", "fewer", "frame version", "version", "name", "reads"],
)
def test_every_change_changes_the_fingerprint(changed: FeatureSet) -> None:
    assert changed.fingerprint != FeatureSet((total, half), frame_version=1).fingerprint


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two features are named total"):
        FeatureSet((total, total), frame_version=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "not a name"}, "feature name is 'not a name'"),
        ({"version": 0}, "version of feature total is 0; allowed: 1 or more"),
        ({"reads": ()}, "feature total reads no column"),
    ],
)
def test_a_wrong_feature_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(total, **wrong)


def test_the_assembler_makes_exactly_the_columns_that_are_read() -> None:
    assembler = Assembler(columns_of([Item(title="red shoes")]), ProductStats.empty())
    columns = set(assembler.assemble([encoded_query("red")], [candidates_of([0])]).columns)
    assert columns == FEATURES.reads
    assert FEATURES.frame_version == FRAME_VERSION


def test_every_feature_has_a_summary() -> None:
    assert [member.name for member in FEATURES.features if not member.summary] == []


def test_only_the_default_set_imports_feature_themes() -> None:
    importers = {
        path.relative_to(LIBRARY).as_posix()
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("intarsia.features.themes")
    }
    assert importers == {"features/default_set.py"}


def test_a_feature_is_immutable() -> None:
    assert isinstance(total, Feature)
    with pytest.raises(dataclasses.FrozenInstanceError):
        total.version = 2  # type: ignore[misc]
