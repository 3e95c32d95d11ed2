"""Which of a product's words the text encoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from intarsia.records.product import Product

TextField = Literal["title", "brand", "category", "attributes", "description"]


def product_text(product: Product, fields: Sequence[TextField]) -> str:
    """The chosen fields in the given order, joined by single spaces; empty ones leave no trace.

    The category is its path from the top; attributes are their values, by name of attribute.
    """
    parts = {
        "title": product.title,
        "brand": product.brand,
        "category": " ".join(product.category_path),
        "attributes": " ".join(value for _, values in sorted(product.attributes.items()) for value in values),
        "description": product.description,
    }
    return " ".join(part for field in fields if (part := parts[field]))
