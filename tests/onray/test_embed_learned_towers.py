"""embed_products with towers of other jobs: `model: lake:text_tower`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from intarsia.config import to_jsonable
from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.image_folder import save_trained
from intarsia.encoders.open import open_image_encoder, open_query_encoder, open_text_encoder
from intarsia.errors import ArtifactError, ConfigError
from intarsia.ids import ProductId, sha256_bytes
from intarsia.lake import Lake
from intarsia.records.product import ImageRef, Product
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS
from intarsia.tables.products import PRODUCTS, product_to_row
from intarsia.training.image_pairs import open_trainable_image
from intarsia.training.text_folder import save_text_tower
from intarsia.training.text_training_data import open_trainable
from pipelines import embed_products, export_query_encoders
from pipelines.job import JobProgress
from tests.unit.encoders.kinds import make_image

PROGRESS = JobProgress("test")
TITLES = ("a red mug", "a blue lamp")
IMAGES = [make_image(np.random.default_rng(number), 40, 30) for number in range(2)]
TOWER = TextEncoderConfig(model="untrained:bert:3", max_tokens=24, pooling="cls", reading="folded", prefix="query: ")
IMAGE_TOWER = ImageEncoderConfig(model="untrained:cnn:3", image_px=32)
UNTRAINED = embed_products.EmbedConfig(
    text=TextEncoderConfig(model="untrained:dnn:1"), image=ImageEncoderConfig(model="untrained:cnn:1"), num_workers=1
)
LAKE_MODEL = dataclasses.replace(
    UNTRAINED,
    text=TextEncoderConfig(model="lake:text_tower", batch_size=1),
    image=ImageEncoderConfig(model="lake:image_tower"),
)


@pytest.fixture
def shop(lake: Lake) -> Lake:
    """Two products with an image each."""
    rows = []
    for number, (title, content) in enumerate(zip(TITLES, IMAGES, strict=True)):
        image = ImageRef(source="0.png", sha256=sha256_bytes(content), width=30, height=40, phash="0" * 16)
        rows.append(
            product_to_row(Product(product_id=ProductId(f"p{number}"), title=title, images=(image,)), [content])
        )
    PRODUCTS.publish(lake, PRODUCTS.from_rows(rows))
    return lake


def publish_towers(lake: Lake) -> None:
    """Publish towers in the format of finetune_text and finetune_image."""
    with lake.publish("text_tower", {"encoder": to_jsonable(TOWER), "folds": 0, "text_fields": ["title"]}) as folder:
        save_text_tower(open_trainable(TOWER), folder)
    with lake.publish("image_tower") as folder:
        save_trained(open_trainable_image(IMAGE_TOWER), None, folder)


@pytest.mark.usefixtures("cluster")
def test_a_tower_of_the_lake_embeds_and_serves_as_it_learned_to_read(shop: Lake) -> None:
    publish_towers(shop)
    embed_products.run(LAKE_MODEL, shop, PROGRESS)
    text, image = shop.current("text_embeddings"), shop.current("image_embeddings")
    assert text.notes["encoder"] == {
        **to_jsonable(TOWER),
        "model": str(shop.current("text_tower").path),
        "batch_size": 1,
    }
    assert image.notes["encoder"]["model"] == str(shop.current("image_tower").path)
    made: list[tuple[Any, Any]] = [
        (TEXT_EMBEDDINGS.read(text), open_text_encoder(TOWER).encode(TITLES)),
        (IMAGE_EMBEDDINGS.read(image), open_image_encoder(IMAGE_TOWER).encode(IMAGES)),
    ]
    for table, wanted_ND in made:
        np.testing.assert_allclose(np.array(table["vector"].to_pylist()), wanted_ND, atol=1e-5)
    export_query_encoders.run(export_query_encoders.ExportConfig(), shop, PROGRESS)
    query_side: Any = open_query_encoder(shop.current("query_encoders").path / "text", "fp32")
    assert query_side.space_id == text.notes["space_id"]
    np.testing.assert_allclose(query_side.encode(TITLES), made[0][1], atol=1e-4)


@pytest.mark.parametrize("name", ["text_tower", "image_tower"])
def test_a_tower_that_nobody_trained_is_named(shop: Lake, name: str) -> None:
    modality = name.removesuffix("_tower")
    config = dataclasses.replace(UNTRAINED, **{modality: getattr(LAKE_MODEL, modality)})
    with pytest.raises(ArtifactError, match=f"^{name} is not in the lake .*; run the job that makes it"):
        embed_products.run(config, shop, PROGRESS)
    assert not shop.has("text_embeddings")


@pytest.mark.parametrize(
    ("modality", "words"),
    [
        ("text", "model is 'lake:image_tower'; allowed here: lake:text_tower, lake:small_text_tower"),
        ("image", "model is 'lake:text_tower'; allowed here: lake:image_tower"),
    ],
)
def test_a_tower_that_reads_something_else_is_refused(shop: Lake, modality: str, words: str) -> None:
    publish_towers(shop)
    other = getattr(LAKE_MODEL, "image" if modality == "text" else "text").model
    swapped = dataclasses.replace(getattr(UNTRAINED, modality), model=other)
    with pytest.raises(ConfigError, match=words):
        embed_products.run(dataclasses.replace(UNTRAINED, **{modality: swapped}), shop, PROGRESS)
