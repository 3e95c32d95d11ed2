"""`open_release` searches a release in a process that has neither torch nor Ray: what the base install gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from intarsia import Query, open_release
from intarsia.errors import ArtifactError
from tests.shop import small_shop

BASE_INSTALL_ONLY = """
import sys

class Blocked:
    names = {"torch", "torchvision", "transformers", "peft", "optuna"}
    names |= {"ray", "fastapi", "pydantic", "jinja2", "matplotlib"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not in the base install")

sys.meta_path.insert(0, Blocked())
from intarsia import Query, open_release

engine = open_release(sys.argv[1])
[page] = engine.search([Query(text="red mug", limit=3)])
print([hit.row for hit in page.hits])
"""


def test_the_base_install_searches_a_release() -> None:
    lake = small_shop()
    result = subprocess.run(
        [sys.executable, "-c", BASE_INSTALL_ONLY, str(lake.root)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    [page] = open_release(lake.root).search([Query(text="red mug", limit=3)])
    assert result.stdout.strip() == str([hit.row for hit in page.hits])


def test_a_release_that_is_not_there_is_an_artifact_error() -> None:
    with pytest.raises(ArtifactError, match="r-none"):
        open_release(small_shop().root, "r-none")
