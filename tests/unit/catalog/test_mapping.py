from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia.catalog.mapping import CatalogMapping, column_list, load_mapping
from intarsia.errors import ConfigError
from tests.unit.catalog.shop_files import mapping

_ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted(
    [*(_ROOT / "examples").glob("*/*mapping.yaml"), *(_ROOT / "pipelines" / "configs").glob("*mapping.yaml")]
)


def test_one_column_several_or_none_are_a_tuple() -> None:
    assert (column_list("a"), column_list(("a", "b")), column_list(None)) == (("a",), ("a", "b"), ())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_mapping_can_be_loaded(path: Path) -> None:
    assert isinstance(load_mapping(path), CatalogMapping)


def test_the_examples_exist() -> None:
    folders = {path.parent.name for path in EXAMPLES}
    assert folders >= {"configs", "fashion15k", "magento_luma", "newbee_zh", "crowdflower_search", "ecomgpt_zh_A"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"titel": "t"}, r"titel; did you mean title\?"),
        ({"file": {"encoding": "utf-99"}}, "encoding is 'utf-99'; allowed: a Python codec name"),
        ({"file": {"encoding": "utf-16"}}, "encoding is 'utf-16'; allowed: one with one-byte line ends"),
        ({"file": {"delimiter": "||"}}, r"delimiter is '\|\|'; allowed: one ASCII character"),
        ({"file": {"quote": "''"}}, "allowed: one ASCII character, or empty"),
        ({"price": {"column": "p", "currency": "RMB"}}, "currency is 'RMB'; allowed: a code of ISO 4217"),
        ({"images": {"columns": "i", "max_images": 0}}, "max_images is 0; allowed: 1 or more"),
        ({"images": {"columns": "i", "max_bytes": 0}}, "max_bytes is 0; allowed: 1 or more"),
        (
            {"images": {"columns": "i", "placeholder_min_products": 1}},
            "placeholder_min_products is 1; allowed: 0, or 2",
        ),
        (
            {"merge": [{"file": "f", "key": "k", "columns": ["a"], "where": {"k": "("}}]},
            "not a regular expression",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mapping(**values)
