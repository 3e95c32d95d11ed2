"""The requests in the README and on the getting-started page are sent as written to the served graph."""

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
PAGES = (ROOT / "README.md", ROOT / "docs" / "getting-started.md")
LINES_OF = [[line for line in page.read_text("utf-8").splitlines() if line.startswith("curl ")] for page in PAGES]
LINES = sorted({line for lines in LINES_OF for line in lines})
LOCAL = "http://127.0.0.1:8000"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


def test_both_pages_search_in_chinese_in_english_and_by_image() -> None:
    for lines in LINES_OF:
        assert len(lines) == 3
        assert all(LOCAL in line for line in lines)


@pytest.mark.parametrize("line", LINES)
def test_a_documented_request_gets_hits(graph: Graph, tmp_path: Path, line: str) -> None:
    (tmp_path / "shoe.jpg").write_bytes(make_image("bag", "red"))
    command = shlex.split(line.replace(LOCAL, str(graph.fused.base_url).rstrip("/")))
    done = subprocess.run(
        [*command, "--write-out", "\n%{http_code}"], cwd=tmp_path, capture_output=True, timeout=60, check=True
    )
    body, _, status = done.stdout.decode("utf-8").rpartition("\n")
    assert status == "200", body
    assert json.loads(body)["hits"]
