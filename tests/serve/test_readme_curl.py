"""The curl lines of the README run as printed, against the served graph."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serve.conftest import Graph
from tests.shop import make_image

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for line in README.splitlines() if line.startswith("curl ")]
LOCAL = "http://127.0.0.1:8000"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


def test_the_readme_searches_in_chinese_in_english_and_by_image() -> None:
    assert len(LINES) == 3
    assert all(LOCAL in line for line in LINES)


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_readme_gets_hits(graph: Graph, tmp_path: Path, line: str) -> None:
    (tmp_path / "shoe.jpg").write_bytes(make_image("bag", "red"))
    command = shlex.split(line.replace(LOCAL, str(graph.fused.base_url).rstrip("/")))
    done = subprocess.run(
        [*command, "--write-out", "\n%{http_code}"], cwd=tmp_path, capture_output=True, timeout=60, check=True
    )
    body, _, status = done.stdout.decode("utf-8").rpartition("\n")
    assert status == "200", body
    assert json.loads(body)["hits"]
