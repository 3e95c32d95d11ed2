"""The digest of a job's code, which is part of its cache key."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from intarsia.errors import ArtifactError
from pipelines.code_digest import SourceTree, imported_names, project_source
from pipelines.jobs import CHECK_NAMES, JOB_NAMES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for folder in ("platform/intarsia", "pipelines", "tune_spaces") for path in (ROOT / folder).rglob("*.py")
)
FILES = {
    "jobs/train.py": "from lib.model import (\n    fit,  # the fit\n    Model as M,\n)\n",
    "lib/__init__.py": "",
    "lib/model/__init__.py": "",
    "lib/model/fit.py": "def fit():\n    import lib.maths as maths, json\n    return maths\n",
    "lib/model/templates/page.html": "<p>",
    "lib/maths.py": "X = 1\n",
    "lib/serving.py": "from lib import maths\n",
    "lib/model/plots.py": "import numpy\n",
}


def names_by_ast(source: str) -> set[str]:
    """What `imported_names` should return, read from the syntax tree."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A job that imports a library's modules, directly, through a module, and inside a function."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def digest(root: Path) -> str:
    return SourceTree({"lib": root / "lib"}).digest_of(root / "jobs" / "train.py")


@pytest.mark.parametrize(
    "name", ["jobs/train.py", "lib/__init__.py", "lib/model/fit.py", "lib/maths.py", "lib/model/templates/page.html"]
)
def test_a_change_of_any_module_that_a_job_imports_changes_its_digest(root: Path, name: str) -> None:
    before = digest(root)
    (root / name).write_text(FILES[name] + "#")
    assert digest(root) != before
    (root / name).write_text(FILES[name])
    assert digest(root) == before


@pytest.mark.parametrize("name", ["lib/serving.py", "lib/model/plots.py"])
def test_a_module_that_a_job_does_not_import_does_not_change_its_digest(root: Path, name: str) -> None:
    before = digest(root)
    (root / name).write_text(FILES[name] + "#")
    assert digest(root) == before


def test_the_digest_does_not_depend_on_where_the_code_is(root: Path) -> None:
    before = digest(root)
    moved = root.rename(root.with_name("elsewhere"))
    assert digest(moved) == before


def test_modules_are_read_once(root: Path) -> None:
    tree = SourceTree({"lib": root / "lib"})
    before = tree.digest_of(root / "jobs" / "train.py")
    (root / "lib" / "maths.py").write_text("X = 2\n")
    assert tree.digest_of(root / "jobs" / "train.py") == before


def test_every_import_of_the_project_is_seen() -> None:
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        assert names_by_ast(source) <= imported_names(source), path


def test_jobs_have_different_digests() -> None:
    digests = {project_source().digest_of(ROOT / "pipelines" / f"{name}.py") for name in (*JOB_NAMES, *CHECK_NAMES)}
    assert len(digests) == len(JOB_NAMES) + len(CHECK_NAMES)


def test_text_that_only_looks_like_an_import_is_harmless(root: Path) -> None:
    (root / "lib" / "maths.py").write_text('"""\nimport a,\nimport #\nfrom . import (b\n"""\nimport (\n')
    assert digest(root) == digest(root)


def test_a_syntax_error_in_an_imported_module_changes_the_digest(root: Path) -> None:
    before = digest(root)
    (root / "lib" / "maths.py").write_text("def (:\n")
    assert digest(root) != before


def test_a_symlinked_checkout_has_the_same_digest(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("elsewhere") / "checkout"
    link.symlink_to(root)
    assert digest(link) == digest(root)


def test_a_job_without_source_is_refused(root: Path) -> None:
    (root / "jobs" / "train.pyc").write_bytes(b"\xa7")
    with pytest.raises(ArtifactError, match=r"train\.pyc is not Python source.*Fix: install the \.py files"):
        SourceTree({}).digest_of(root / "jobs" / "train.pyc")
