"""The table `training_rows`: the feature matrix of judged candidates, grouped by query."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from intarsia.tables.schema import TableSpec

KEY_COLUMNS = ("query_id", "split", "product_id", "label", "weight")


def training_rows_spec(feature_names: Sequence[str]) -> TableSpec:
    """Key columns, then one float32 column per feature in the order of the feature set; missing is NaN, never null."""
    keys = [
        ("query_id", pa.string()),
        ("split", pa.string()),
        ("product_id", pa.string()),
        ("label", pa.int32()),
        ("weight", pa.float32()),
    ]
    return TableSpec(
        name="training_rows", version=1, schema=pa.schema([*keys, *((name, pa.float32()) for name in feature_names)])
    )
