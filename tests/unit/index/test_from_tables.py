from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from intarsia import text
from intarsia.errors import ArtifactError
from intarsia.ids import ProductId
from intarsia.index.from_tables import Tokeniser, field_texts, product_row_groups, read_catalog_vectors
from intarsia.lake import Entry, Lake
from intarsia.records.product import Product
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS
from intarsia.tables.products import PRODUCTS, product_to_row

Vector = tuple[str, int, str, list[float]]


def embeddings(lake: Lake, *parts: Sequence[Vector], dim: int = 2) -> Entry:
    """A published `image_embeddings`: (product id, view, space id, vector) by part."""
    with lake.publish("image_embeddings", {"space_id": "s", "dim": dim}) as folder:
        for number, part in enumerate(parts):
            rows = [
                {"product_id": p, "view": v, "space_id": s, "vector": x, "content_sha256": ""} for p, v, s, x in part
            ]
            IMAGE_EMBEDDINGS.write_part(IMAGE_EMBEDDINGS.from_rows(rows), folder, number)
    return lake.current("image_embeddings")


def test_vectors_are_sorted_by_row_and_view_whatever_the_order_of_parts(lake: Lake) -> None:
    entry = embeddings(
        lake, [("b", 1, "s", [3, 0]), ("c", 0, "s", [4, 0])], [("a", 0, "s", [1, 0]), ("b", 0, "s", [2, 0])]
    )
    vectors = read_catalog_vectors(IMAGE_EMBEDDINGS, entry, ["a", "aa", "b", "c"])
    assert vectors.space_id == "s"
    assert vectors.vectors_VD.tolist() == [[1, 0], [2, 0], [3, 0], [4, 0]]
    assert vectors.rows_V.tolist() == [0, 2, 2, 3]
    assert vectors.views_V.tolist() == [0, 0, 1, 0]


def test_a_missing_vector_is_refused_if_every_product_must_have_one(lake: Lake) -> None:
    entry = embeddings(lake, [("a", 0, "s", [1, 0])])
    assert len(read_catalog_vectors(IMAGE_EMBEDDINGS, entry, ["a"], every_product=True).rows_V) == 1
    with pytest.raises(ArtifactError, match="image_embeddings has no vector of product b, which is in the catalog"):
        read_catalog_vectors(IMAGE_EMBEDDINGS, entry, ["a", "b"], every_product=True)


@pytest.mark.parametrize("parts", [(), ([],)], ids=["no part", "an empty part"])
def test_a_catalog_without_images_has_no_vectors_of_a_known_width(lake: Lake, parts: tuple[list[Vector], ...]) -> None:
    vectors = read_catalog_vectors(IMAGE_EMBEDDINGS, embeddings(lake, *parts, dim=5), ["a"])
    assert vectors.space_id == "s"
    assert vectors.vectors_VD.shape == (0, 5)
    assert vectors.vectors_VD.dtype == np.float32


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (
            [("a", 0, "s", [1, 0]), ("a", 1, "t", [1, 0])],
            "image_embeddings contains vectors of space t; allowed: only s",
        ),
        ([("z", 0, "s", [1, 0])], "a vector of product z; allowed: products of the catalog"),
        ([("a", 0, "s", [1, 0, 0])], "3 values in 1 vectors; allowed: 2 in each. It was made from other products"),
    ],
)
def test_embeddings_that_do_not_fit_the_catalog_are_refused(lake: Lake, vectors: list[Vector], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        read_catalog_vectors(IMAGE_EMBEDDINGS, embeddings(lake, vectors), ["a", "b"])


def test_row_groups_contain_the_tokens_of_every_product_once(lake: Lake) -> None:
    first = Product(product_id=ProductId("a"), title="Red shoes", brand="Acme", attributes={"colour": ("red",)})
    second = Product(product_id=ProductId("b"), title="红色运动鞋", category_path=("Shoes", "Running"))
    with lake.publish("products") as folder:
        for number, product in enumerate((first, second)):
            PRODUCTS.write_part(PRODUCTS.from_rows([product_to_row(product, [])]), folder, number)
    fields = ("title", "category", "attributes")
    tokenise = Tokeniser(fields)
    for row_group, product in zip(product_row_groups(lake.current("products")), (first, second), strict=True):
        group_tokens = tokenise(row_group)
        assert group_tokens.product_ids == [product.product_id]
        assert group_tokens.by_field == {name: [text.tokens(field_texts(product)[name])] for name in fields}


def test_attribute_names_are_not_searched() -> None:
    product = Product(product_id=ProductId("a"), title="x", attributes={"size": ("42",), "colour": ("red", "blue")})
    assert field_texts(product)["attributes"] == "red blue 42"
