"""CONTRIBUTING.md names only paths that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPANS = re.findall(
    r"`([^`\n]+)`", re.sub(r"```.*?```", "", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), flags=re.DOTALL)
)
PATHS = sorted({span for span in SPANS if re.fullmatch(r"[\w.-]*/[\w./-]*|[\w-]+\.(md|toml)", span)})


@pytest.mark.parametrize("path", PATHS)
def test_a_named_path_exists(path: str) -> None:
    assert any((root / path).exists() for root in (ROOT, ROOT / "platform" / "intarsia"))


def test_the_paths_are_read_from_the_text() -> None:
    assert {"features/themes/", "fusion/score/comb_sum_mnz.py", "pyproject.toml", ".ci/run"} <= set(PATHS)
