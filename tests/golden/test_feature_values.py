"""Golden feature values per version: the values of a feature must not change without a new version.

`features.json` maps `name/version` to the values, as the hex of their float32 bits, for the shop and queries below.
After a deliberate change, raise the version of the feature (FRAME_VERSION too when a column changed). Then run `python
-m tests.golden.test_feature_values`: it adds the values of new versions, and never changes existing ones.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np

from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import StatsLedger
from tests.feature_cases import NOON, ExactVectors, Item, candidates_of, columns_of, encoded_query, event

GOLDEN = Path(__file__).with_name("features.json")

SHOP = [
    Item(
        title="Red running shoes 42",
        description="Light red shoes for road running",
        brand="Nike",
        category=("Sport", "Shoes"),
        attributes={"colour": ("red",), "size": ("42",)},
        price=5000,
        in_stock=1,
        updated_at=NOON - timedelta(days=3, hours=5),
        num_images=2,
    ),
    Item(
        title="Running shoes, red",
        brand="Puma",
        category=("Sport", "Shoes"),
        attributes={"colour": ("blue",)},
        price=1000,
    ),
    Item(title="Blue dress", category=("Women", "Dresses"), price=1999, in_stock=0, num_images=1),
    Item(title="红色运动鞋", is_zh=True, price=3000, currency="CNY"),
    Item(title="Wine glass", description="Not red at all"),
]
EVENTS = [
    *(event(n, "impression", f"p00{n % 3}") for n in range(9)),
    event(20, "click", "p000", dwell_ms=1200),
    event(21, "view", "p000", dwell_ms=800),
    event(22, "add_to_cart", "p001"),
    event(23, "purchase", "p001"),
]


def current_values() -> dict[str, list[str]]:
    """Feature/version -> hex of each row's float32."""
    vectors = {
        "text": ExactVectors({0: [[3, 4]], 1: [[1, 1]], 3: [[0, 1]]}, dim=2),
        "image": ExactVectors({0: [[1, 2], [2, 1]], 2: [[1, 0]]}, dim=2),
    }
    nan = np.nan
    candidates = [
        candidates_of(
            [0, 1, 3],
            scores=[[7.5, 0.9, nan], [5.25, 0.8, nan], [0, 0.7, nan]],
            ranks=[[1, 1, 0], [2, 2, 0], [0, 3, 0]],
            fused=[0.9, 0.7, 0.2],
        ),
        candidates_of(range(5), scores=[[nan, nan, s] for s in (0.5, nan, 0.75, nan, nan)], fused=[0.5, 0, 0.75, 0, 0]),
    ]
    assembler = Assembler(columns_of(SHOP), StatsLedger.empty().fold(*EVENTS).as_of(None), vectors)
    queries = [encoded_query("nike red runing shoes 42 shoes"), encoded_query(None, image=b"picture", locale="zh")]
    matrix = FEATURES.compute(assembler.assemble(queries, candidates))
    names = [f"{feature.name}/{feature.version}" for feature in FEATURES.features]
    return {name: [v.tobytes().hex() for v in column] for name, column in zip(names, matrix.values_nF.T, strict=True)}


def test_every_version_of_every_feature_keeps_its_values() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    current = current_values()
    changed = {n: (_floats(golden[n]), _floats(v)) for n, v in current.items() if n in golden and golden[n] != v}
    assert not changed, "values changed under the same version; raise the version"
    assert set(current) <= set(golden), "features without golden values; see the module docstring"


def _floats(hexes: list[str]) -> list[float]:
    return np.frombuffer(bytes.fromhex("".join(hexes)), np.float32).tolist()


if __name__ == "__main__":
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    GOLDEN.write_text(json.dumps(current_values() | golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")
