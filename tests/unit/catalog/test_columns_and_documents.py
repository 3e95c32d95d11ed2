from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from intarsia.catalog.columns import build_columns, open_columns, save_columns
from intarsia.catalog.documents import Document, Documents, write_documents
from intarsia.errors import ArtifactError
from intarsia.ids import ProductId
from intarsia.lake import Entry, Lake
from intarsia.records.product import ImageRef, Money, Product
from intarsia.records.product_columns import ProductColumns
from intarsia.tables.products import PRODUCTS, product_to_row
from intarsia.text import words

_MUG = Product(
    product_id=ProductId("a"),
    title="Red mugs",
    description="Holds tea",
    brand="Muji",
    category_path=("Home", "Mugs"),
    price=Money(minor_units=990, currency="USD"),
    images=tuple(ImageRef(source=f"{n}.png", sha256=str(n), width=1, height=1, phash="0" * 16) for n in range(2)),
    attributes={"colour": ("Red", "Blue"), "size": ("S",)},
    in_stock=True,
    locale="en",
    updated_at=datetime(2024, 5, 31, tzinfo=UTC),
)
_CREAM = Product(product_id=ProductId("b"), title="面霜", locale="zh")
_LAMP = Product(
    product_id=ProductId("c"),
    title="Lamp",
    brand="Ikea",
    category_path=("Home",),
    price=Money(minor_units=5, currency="CNY"),
    images=_MUG.images[:1],
    attributes={"colour": ("Blue",)},
    in_stock=False,
)
_PRODUCTS = ((_MUG, (b"first", b"second")), (_CREAM, ()), (_LAMP, (b"third",)))


@pytest.fixture
def products(lake: Lake) -> Entry:
    """Three products in two parts."""
    with lake.publish("products") as folder:
        for number, part in enumerate((_PRODUCTS[:2], _PRODUCTS[2:])):
            PRODUCTS.write_part(PRODUCTS.from_rows([product_to_row(p, content) for p, content in part]), folder, number)
    return lake.current("products")


def _names(columns: ProductColumns, vocabulary: str, codes: np.ndarray) -> list[str]:
    terms = list(columns.vocabularies[vocabulary])
    return [terms[code] for code in codes]


def test_columns_hold_the_values_of_the_products(products: Entry) -> None:
    columns = build_columns(products)
    nan = float("nan")
    assert columns.product_ids == ("a", "b", "c")
    np.testing.assert_array_equal(columns.price_minor, [990, nan, 5])
    np.testing.assert_array_equal(columns.in_stock, [1, nan, 0])
    np.testing.assert_array_equal(columns.updated_at_s, [1717113600, nan, nan])
    np.testing.assert_array_equal(columns.num_images, [2, 0, 1])
    np.testing.assert_array_equal(columns.description_chars, [9, 0, 0])
    np.testing.assert_array_equal(columns.is_zh, [0, 1, 0])
    assert (columns.currency.tolist(), columns.brand.tolist()) == ([1, -1, 0], [1, -1, 0])
    assert columns.currency.dtype == columns.brand.dtype == np.int32
    assert _names(columns, "category", columns.categories.row(0)) == ["Home", "Home > Mugs"]
    assert _names(columns, "attribute", columns.attributes.row(0)) == ["colour=Blue", "colour=Red", "size=S"]
    assert columns.attributes.row(0).tolist() == [0, 1, 2]
    assert _names(columns, "word", columns.words["title"].row(1)) == words("面霜")
    assert _names(columns, "word", columns.words["category"].row(0)) == words("Home") + words("Mugs")
    assert _names(columns, "word", columns.words["attributes"].row(0)) == words("Red Blue S")
    assert all(list(codes) == sorted(codes) for codes in columns.vocabularies.values())


def test_saved_columns_open_equal_and_memory_mapped(products: Entry, tmp_path: Path) -> None:
    built = build_columns(products)
    save_columns(built, tmp_path / "columns")
    opened = open_columns(tmp_path / "columns")
    assert opened.product_ids == built.product_ids
    assert opened.vocabularies == built.vocabularies
    for name in (
        "price_minor",
        "in_stock",
        "updated_at_s",
        "num_images",
        "description_chars",
        "is_zh",
        "currency",
        "brand",
    ):
        np.testing.assert_array_equal(getattr(opened, name), getattr(built, name))
        assert isinstance(getattr(opened, name), np.memmap)
    for name, ragged in {"": built.categories, "a": built.attributes, **built.words}.items():
        other = {"": opened.categories, "a": opened.attributes, **opened.words}[name]
        np.testing.assert_array_equal(other.values, ragged.values)
        np.testing.assert_array_equal(other.offsets, ragged.offsets)


def test_missing_damaged_and_mixed_columns_are_refused(products: Entry, tmp_path: Path) -> None:
    folder = tmp_path / "columns"
    with pytest.raises(ArtifactError, match=r"cannot be read: .*run build_indexes again"):
        open_columns(folder)
    save_columns(build_columns(products), folder)
    np.save(folder / "brand.npy", np.zeros(2, np.int32))
    with pytest.raises(ArtifactError, match=r"have \[2, 3\] rows, not one number"):
        open_columns(folder)
    (folder / "brand.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_columns(folder)


def test_documents_are_read_by_row_in_the_requested_order(products: Entry, tmp_path: Path) -> None:
    assert write_documents(products, tmp_path) == 3
    documents = Documents.open(tmp_path)
    assert documents.num_rows == 3
    lamp, mug, cream = documents.get([2, 0, 1])
    assert mug == Document(
        row=0,
        product_id=ProductId("a"),
        title="Red mugs",
        description="Holds tea",
        brand="Muji",
        category_path=("Home", "Mugs"),
        price=Money(minor_units=990, currency="USD"),
        attributes={"colour": ("Red", "Blue"), "size": ("S",)},
        in_stock=True,
        locale="en",
        num_images=2,
    )
    assert (lamp.row, lamp.title, cream.price, cream.in_stock, cream.num_images) == (2, "Lamp", None, None, 0)


def test_images_are_read_by_row_and_number(products: Entry, tmp_path: Path) -> None:
    write_documents(products, tmp_path)
    documents = Documents.open(tmp_path)
    assert [documents.image(0, 0), documents.image(0, 1), documents.image(2, 0)] == [
        b"first",
        b"second",
        b"third",
    ]
    assert [documents.image(0, 2), documents.image(0, -1), documents.image(1, 0), documents.image(9, 0)] == [None] * 4


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_out_of_range_is_refused(products: Entry, tmp_path: Path, row: int) -> None:
    write_documents(products, tmp_path)
    with pytest.raises(IndexError, match=f"row is {row}; allowed: 0 to 2"):
        Documents.open(tmp_path).get([row])


def test_missing_and_damaged_documents_are_refused(products: Entry, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"documents.arrow cannot be read"):
        Documents.open(tmp_path)
    write_documents(products, tmp_path)
    torn = (tmp_path / "pictures.arrow").read_bytes()[:-20]
    (tmp_path / "pictures.arrow").write_bytes(torn)
    with pytest.raises(ArtifactError, match=r"pictures.arrow cannot be read"):
        Documents.open(tmp_path)


def test_a_catalog_without_products_has_empty_columns_and_documents(lake: Lake, tmp_path: Path) -> None:
    with lake.publish("products") as folder:
        PRODUCTS.write_part(PRODUCTS.from_rows([]), folder, 0)
    entry = lake.current("products")
    save_columns(build_columns(entry), tmp_path / "columns")
    assert open_columns(tmp_path / "columns").num_rows == 0
    write_documents(entry, tmp_path)
    assert Documents.open(tmp_path).num_rows == 0
