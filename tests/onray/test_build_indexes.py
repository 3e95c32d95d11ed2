from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from intarsia.catalog.columns import open_columns
from intarsia.catalog.documents import Documents
from intarsia.errors import ArtifactError
from intarsia.ids import ProductId
from intarsia.index.bm25 import Bm25Config, Bm25Index
from intarsia.index.filters import FilterIndex
from intarsia.index.from_tables import field_texts
from intarsia.index.vector_files import VectorIndexConfig, open_vector_index
from intarsia.lake import Lake
from intarsia.records.product import ImageRef, Money, Product
from intarsia.tables.embeddings import embeddings_spec
from intarsia.tables.products import PRODUCTS, product_to_row
from pipelines.build_indexes import JOB, BuildIndexesConfig
from pipelines.job import JobProgress, run_job

DIM = 8


def make_image(number: int) -> ImageRef:
    return ImageRef(source=f"{number}.png", sha256=f"{number:064x}", width=4, height=4, phash=f"{number:016x}")


SHOP = [
    Product(
        product_id=ProductId(f"p{number:03}"),
        title=("Red running shoes", "蓝色运动鞋", "Leather bag")[number % 3] + f" {number}",
        description="Soft & light" if number % 2 else "",
        brand="Acme" if number % 4 else "",
        category_path=("Shoes", "Running") if number % 3 < 2 else ("Bags",),
        price=Money(minor_units=100 * number, currency="USD"),
        images=tuple(make_image(i) for i in range(number % 3)),
        attributes={"colour": ("red",)} if number % 3 == 0 else {},
    )
    for number in range(25)
]


def publish_products(lake: Lake, products: Sequence[Product]) -> None:
    """Two parts, sorted by id, as ingest_catalog writes them."""
    half = len(products) // 2
    with lake.publish("products") as folder:
        for number, part in enumerate((products[:half], products[half:])):
            rows = [product_to_row(p, [b"image %d" % i for i in range(len(p.images))]) for p in part]
            PRODUCTS.write_part(PRODUCTS.from_rows(rows), folder, number)


def publish_embeddings(lake: Lake, modality: str, products: Sequence[Product], *, dim: int = DIM) -> None:
    """One text vector per product, one image vector per image, last product first."""
    spec, rng = embeddings_spec(modality), np.random.default_rng(len(modality))
    rows = []
    for product in reversed(products):
        for view in range(1 if modality == "text" else len(product.images)):
            vector = rng.standard_normal(dim)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
            rows.append(
                {"product_id": product.product_id, "view": view, "content_sha256": "", "space_id": f"{modality}-space"}
                | {"vector": vector}
            )
    with lake.publish(f"{modality}_embeddings", {"space_id": f"{modality}-space", "dim": dim}) as folder:
        spec.write_part(spec.from_rows(rows), folder, 0)


def run(lake: Lake, products: Sequence[Product], config: BuildIndexesConfig | None = None) -> None:
    publish_products(lake, products)
    publish_embeddings(lake, "text", products)
    publish_embeddings(lake, "image", products)
    assert run_job(JOB, config or BuildIndexesConfig(), lake)


@pytest.mark.usefixtures("cluster")
def test_the_job_writes_everything_that_retrieval_reads(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    run(lake, SHOP)
    assert "products 25" in capsys.readouterr().out
    entry = lake.current("indexes")
    columns = open_columns(entry.path / "columns")
    assert columns.product_ids == tuple(p.product_id for p in SHOP)
    assert entry.notes["num_products"] == 25
    assert json.loads((entry.path / "manifest.json").read_text()) == {
        "num_rows": 25,
        "products_digest": lake.current("products").digest,
        "space_ids": {"text": "text-space", "image": "image-space"},
    }

    # the index built by workers equals, bit for bit, the index built in one process
    fields = {name: [field_texts(p)[name] for p in SHOP] for name in Bm25Config().weights}
    expected, bm25 = Bm25Index.build(Bm25Config(), fields), Bm25Index.open(entry.path / "bm25")
    assert bm25.vocabulary == expected.vocabulary
    assert bm25.impacts.tobytes() == expected.impacts.tobytes()
    assert bm25.rows.tobytes() == expected.rows.tobytes()

    text, image = (open_vector_index(entry.path / modality) for modality in ("text", "image"))
    assert (text.space_id, image.space_id) == ("text-space", "image-space")
    assert [len(text.vectors_of(row)) for row in range(25)] == [1] * 25
    assert [len(image.vectors_of(row)) for row in range(25)] == [len(p.images) for p in SHOP]
    rows = text.search(text.vectors_of(7), 1, None).rows_Qk
    assert rows.tolist() == [[7]]

    assert [v.count for v in FilterIndex(columns).facets(np.ones(25, np.bool_), ["brand"])["brand"]] == [18]
    documents = Documents.open(entry.path)
    assert documents.get([4])[0].title == SHOP[4].title


@pytest.mark.usefixtures("cluster")
def test_a_catalog_without_images_is_reproducible(lake: Lake) -> None:
    bare = [
        Product(product_id=p.product_id, title=p.title, description=p.description, category_path=p.category_path)
        for p in SHOP
    ]
    config = BuildIndexesConfig(vectors=VectorIndexConfig(exact_up_to=10))
    run(lake, bare, config)
    entry = lake.current("indexes")
    assert open_vector_index(entry.path / "image").search(np.eye(1, DIM, dtype=np.float32), 3, None).rows_Qk.max() == -1
    assert json.loads((entry.path / "text" / "index.json").read_text())["kind"] == "hnsw"
    assert not run_job(JOB, config, lake)
    assert run_job(JOB, config, lake, force=True)
    assert lake.current("indexes").digest == entry.digest


@pytest.mark.usefixtures("cluster")
def test_embeddings_of_other_products_are_refused(lake: Lake) -> None:
    publish_products(lake, SHOP[:5])
    publish_embeddings(lake, "text", SHOP[:6])
    publish_embeddings(lake, "image", SHOP[:5])
    with pytest.raises(
        ArtifactError, match="text_embeddings contains a vector of product p005; allowed: products of the"
    ):
        JOB.run(BuildIndexesConfig(), lake, JobProgress(JOB.name))
    assert not lake.has("indexes")


@pytest.mark.usefixtures("cluster")
def test_a_product_without_its_text_vector_is_refused(lake: Lake) -> None:
    publish_products(lake, SHOP[:5])
    publish_embeddings(lake, "text", SHOP[:4])
    publish_embeddings(lake, "image", SHOP[:5])
    with pytest.raises(ArtifactError, match="text_embeddings has no vector of product p004"):
        JOB.run(BuildIndexesConfig(), lake, JobProgress(JOB.name))


def test_a_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="num_workers is -1; allowed: 0 or more"):
        BuildIndexesConfig(num_workers=-1)
