"""The tables `products` (with image bytes) and `rejected_products`, and conversion between `Product` and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from intarsia.ids import ProductId
from intarsia.records.product import ImageRef, Money, Product
from intarsia.tables.schema import TIME, TableSpec

_IMAGE = pa.struct(
    [
        ("source", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("phash", pa.string()),
        ("bytes", pa.binary()),
    ]
)

PRODUCTS = TableSpec(
    name="products",
    version=1,
    schema=pa.schema(
        [
            ("product_id", pa.string()),
            ("title", pa.string()),
            ("description", pa.string()),
            ("brand", pa.string()),
            ("category_path", pa.list_(pa.string())),
            ("price_minor", pa.int64()),
            ("currency", pa.string()),
            ("images", pa.list_(_IMAGE)),
            ("attributes", pa.map_(pa.string(), pa.list_(pa.string()))),
            ("in_stock", pa.bool_()),
            ("locale", pa.string()),
            ("updated_at", TIME),
            ("duplicate_group", pa.string()),  # product_id of the group's first member; null without duplicates
        ]
    ),
)

REJECTED_PRODUCTS = TableSpec(
    name="rejected_products",
    version=2,
    schema=pa.schema(
        [
            ("file", pa.string()),
            ("row", pa.int64()),  # 1 is the first data row of the file
            ("key", pa.string()),
            ("field", pa.string()),
            ("reason", pa.string()),  # a code of catalog.rejects
            ("found", pa.string()),
            ("fix", pa.string()),
            ("dropped", pa.bool_()),  # true: the whole row; false: the product is kept without the value
        ]
    ),
)

COLUMNS_WITHOUT_IMAGE_BYTES = tuple(n for n in PRODUCTS.schema.names if n != "images")


def product_to_row(product: Product, image_bytes: Sequence[bytes]) -> dict[str, Any]:
    """Convert a product to a row of `products`; `image_bytes` are in the order of `product.images`."""
    assert len(image_bytes) == len(product.images)
    return {
        "product_id": product.product_id,
        "title": product.title,
        "description": product.description,
        "brand": product.brand,
        "category_path": list(product.category_path),
        "price_minor": product.price.minor_units if product.price else None,
        "currency": product.price.currency if product.price else None,
        "images": [
            {"source": i.source, "sha256": i.sha256, "width": i.width, "height": i.height, "phash": i.phash, "bytes": b}
            for i, b in zip(product.images, image_bytes, strict=True)
        ],
        "attributes": [(name, list(values)) for name, values in sorted(product.attributes.items())],
        "in_stock": product.in_stock,
        "locale": product.locale,
        "updated_at": product.updated_at,
        "duplicate_group": None,
    }


def row_to_product(row: Mapping[str, Any]) -> tuple[Product, tuple[bytes, ...]]:
    """Convert a row of `products` to (product, image bytes); the row may lack `images`."""
    images = row.get("images") or []
    price = None if row["price_minor"] is None else Money(minor_units=row["price_minor"], currency=row["currency"])
    product = Product(
        product_id=ProductId(row["product_id"]),
        title=row["title"],
        description=row["description"],
        brand=row["brand"],
        category_path=tuple(row["category_path"]),
        price=price,
        images=tuple(
            ImageRef(source=i["source"], sha256=i["sha256"], width=i["width"], height=i["height"], phash=i["phash"])
            for i in images
        ),
        attributes={name: tuple(values) for name, values in row["attributes"]},
        in_stock=row["in_stock"],
        locale=row["locale"],
        updated_at=row["updated_at"],
    )
    return product, tuple(i["bytes"] for i in images)
