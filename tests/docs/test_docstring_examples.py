"""The examples (`>>>`) in docstrings are run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTS_RAY = ("intarsia.onray.workers",)  # other tests of this process need a process without Ray


def modules_with_examples() -> list[str]:
    """Dotted names of the modules of library, server and jobs that have an example."""
    names = []
    for base, package in ((ROOT / "platform", "intarsia"), (ROOT, "serve_apps"), (ROOT, "pipelines")):
        for path in sorted((base / package).rglob("*.py")):
            if ">>>" in path.read_text(encoding="utf-8"):
                names.append(".".join(path.relative_to(base).with_suffix("").parts))
    return [name for name in names if name not in IMPORTS_RAY]


@pytest.mark.parametrize("name", modules_with_examples())
def test_docstring_examples_give_the_result_they_show(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
