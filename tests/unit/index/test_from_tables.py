from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from intarsia import text
from intarsia.errors import ArtifactError
from intarsia.ids import ProductId
from intarsia.index.from_tables import Tokeniser, field_texts, pieces_of, read_embedded
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


def test_vectors_come_in_order_of_row_and_view_from_parts_in_any_order(lake: Lake) -> None:
    entry = embeddings(
        lake, [("b", 1, "s", [3, 0]), ("c", 0, "s", [4, 0])], [("a", 0, "s", [1, 0]), ("b", 0, "s", [2, 0])]
    )
    found = read_embedded(IMAGE_EMBEDDINGS, entry, ["a", "aa", "b", "c"])
    assert found.space_id == "s"
    assert found.vectors_VD.tolist() == [[1, 0], [2, 0], [3, 0], [4, 0]]
    assert found.rows_V.tolist() == [0, 2, 2, 3]
    assert found.views_V.tolist() == [0, 0, 1, 0]


def test_a_product_without_a_vector_is_refused_where_each_must_have_one(lake: Lake) -> None:
    entry = embeddings(lake, [("a", 0, "s", [1, 0])])
    assert len(read_embedded(IMAGE_EMBEDDINGS, entry, ["a"], every_product=True).rows_V) == 1
    with pytest.raises(ArtifactError, match="image_embeddings has no vector of product b, which the catalog holds"):
        read_embedded(IMAGE_EMBEDDINGS, entry, ["a", "b"], every_product=True)


@pytest.mark.parametrize("parts", [(), ([],)], ids=["no part", "an empty part"])
def test_a_catalog_without_images_has_no_vectors_of_a_known_width(lake: Lake, parts: tuple[list[Vector], ...]) -> None:
    found = read_embedded(IMAGE_EMBEDDINGS, embeddings(lake, *parts, dim=5), ["a"])
    assert found.space_id == "s"
    assert found.vectors_VD.shape == (0, 5)
    assert found.vectors_VD.dtype == np.float32


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([("a", 0, "s", [1, 0]), ("a", 1, "t", [1, 0])], "image_embeddings holds vectors of space t; allowed: only s"),
        ([("z", 0, "s", [1, 0])], "a vector of product z; allowed: products of the catalog"),
        ([("a", 0, "s", [1, 0, 0])], "3 values in 1 vectors; allowed: 2 in each: it was made from something else, run"),
    ],
)
def test_embeddings_that_do_not_fit_the_catalog_are_refused(lake: Lake, vectors: list[Vector], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        read_embedded(IMAGE_EMBEDDINGS, embeddings(lake, vectors), ["a", "b"])


def test_pieces_give_the_tokens_of_every_product_once(lake: Lake) -> None:
    first = Product(product_id=ProductId("a"), title="Red shoes", brand="Acme", attributes={"colour": ("red",)})
    second = Product(product_id=ProductId("b"), title="红色运动鞋", category_path=("Shoes", "Running"))
    with lake.publish("products") as folder:
        for number, product in enumerate((first, second)):
            PRODUCTS.write_part(PRODUCTS.from_rows([product_to_row(product, [])]), folder, number)
    fields = ("title", "category", "attributes")
    tokenise = Tokeniser(fields)
    for piece, product in zip(pieces_of(lake.current("products")), (first, second), strict=True):
        found = tokenise(piece)
        assert found.product_ids == [product.product_id]
        assert found.by_field == {name: [text.tokens(field_texts(product)[name])] for name in fields}


def test_attribute_names_are_not_searched() -> None:
    product = Product(product_id=ProductId("a"), title="x", attributes={"size": ("42",), "colour": ("red", "blue")})
    assert field_texts(product)["attributes"] == "red blue 42"
