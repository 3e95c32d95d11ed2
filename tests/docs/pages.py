"""The code blocks of the documentation, and a folder in which they run.

`python -m tests.docs.pages` runs the Python blocks of every page and writes what they print into the output blocks
that follow them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.shop import small_shop

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WRITTEN = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in DOCS.glob("*.md") if not path.read_text("utf-8").startswith("<!-- Generated")),
)
"""Pages written by hand."""
ALL_PAGES = (*WRITTEN, *sorted(set(DOCS.glob("*.md")) - set(WRITTEN)))

_BLOCK = re.compile(
    r'(?P<skip><!-- not run: .*? -->\n)?```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)```', re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block; `start` and `stop` bound its text in the page."""

    page: Path
    language: str
    title: str
    text: str
    is_run: bool
    start: int
    stop: int


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page, of the named languages."""
    return [
        Block(
            page=page,
            language=match["language"],
            title=match["title"] or "",
            text=match["text"],
            is_run=match["skip"] is None,
            start=match.start("text"),
            stop=match.end("text"),
        )
        for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))
        if not languages or match["language"] in languages
    ]


def shell_lines(page: Path) -> list[str]:
    """The commands of the shell blocks that are checked, without comments."""
    lines = [line for block in blocks(page, "sh") if block.is_run for line in block.text.splitlines()]
    return [re.split(r"\s+#", line)[0].strip() for line in lines if line.strip()]


def load_generator() -> ModuleType:
    """`docs/generate.py` as a module."""
    if "docs_generate" not in sys.modules:
        spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["docs_generate"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["docs_generate"])
    return sys.modules["docs_generate"]


@contextlib.contextmanager
def example_folder(page: Path, folder: Path) -> Iterator[None]:
    """Make the files that a page shows, and the small shop as `lake/demo`, in a folder; work there for the block."""
    products = next(block for block in blocks(DOCS / "your-own-data.md", "csv") if block.title == "data/products.csv")
    (folder / "products.csv").write_text(products.text, encoding="utf-8")
    for block in blocks(page, "csv", "yaml"):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")
    if any("lake/demo" in block.text for block in blocks(page, "python")):
        (folder / "lake").mkdir(exist_ok=True)
        (folder / "lake" / "demo").symlink_to(small_shop().root)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_python(page: Path, folder: Path) -> tuple[list[tuple[Block, str]], dict[str, Any]]:
    """Run the Python blocks of a page in order, in one namespace; return what each printed, and the namespace."""
    module = ModuleType(f"documentation_of_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    module.__file__ = str(folder / "blocks.py")  # a job's code counts as one of its inputs
    (folder / "blocks.py").write_text("\n".join(block.text for block in blocks(page, "python")), encoding="utf-8")
    names = module.__dict__
    printed: list[tuple[Block, str]] = []
    with example_folder(page, folder):
        for block in blocks(page, "python"):
            if block.is_run:
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    exec(compile(block.text, page.name, "exec", dont_inherit=True), names)
                printed.append((block, output.getvalue()))
    return printed, names


def output_after(block: Block) -> Block | None:
    """The output block that follows a Python block."""
    following = [one for one in blocks(block.page) if one.start > block.stop]
    return following[0] if following and following[0].language == "text" and following[0].title == "output" else None


def write_outputs() -> None:
    """Write the outputs into the pages."""
    for page in WRITTEN:
        with tempfile.TemporaryDirectory() as name:
            printed, _ = run_python(page, Path(name))
        text = page.read_text(encoding="utf-8")
        for block, output in reversed(printed):
            if (shown := output_after(block)) is not None:
                text = text[: shown.start] + output + text[shown.stop :]
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_outputs()
