"""The defects of a release's report are the counts of rejected catalog values."""

from __future__ import annotations

from intarsia.lake import Lake
from intarsia.tables.products import REJECTED_PRODUCTS
from pipelines.evaluate_release import catalog_defects


def reject(row: int, field: str, reason: str, *, dropped: bool) -> dict[str, object]:
    return {
        "file": "products.csv",
        "row": row,
        "key": f"p{row}",
        "field": field,
        "reason": reason,
        "found": "x",
        "fix": "y",
        "dropped": dropped,
    }


def test_rejected_values_are_counted_by_reason_and_field(lake: Lake) -> None:
    assert catalog_defects(lake) == ()
    rows = [
        reject(1, "title", "missing", dropped=True),
        reject(2, "price", "not_a_number", dropped=False),
        reject(3, "price", "not_a_number", dropped=False),
    ]
    with lake.publish("rejected_products") as folder:
        REJECTED_PRODUCTS.write_part(REJECTED_PRODUCTS.from_rows(rows), folder, 0)
    assert catalog_defects(lake) == (
        "2 x not_a_number in price: the product is kept without it",
        "1 x missing in title: the row is not in the catalog",
    )
