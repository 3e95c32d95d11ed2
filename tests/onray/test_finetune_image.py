"""finetune_image on a small lake: training data, and that its output opens as an encoder."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from intarsia.config import to_jsonable
from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.lake_models import TOWER_CURVE
from intarsia.encoders.open import open_image_encoder, open_text_encoder
from intarsia.encoders.store import EmbeddingKey, write_vectors
from intarsia.errors import ConfigError
from intarsia.ids import ProductId, sha256_bytes
from intarsia.lake import Lake
from intarsia.records.product import ImageRef, Product
from intarsia.tables.embeddings import TEXT_EMBEDDINGS
from intarsia.tables.products import PRODUCTS, product_to_row
from intarsia.training.loop import FitConfig
from intarsia.training.text_folder import save_text_tower
from intarsia.training.text_training_data import open_trainable
from pipelines import finetune_image
from pipelines.job import JobProgress, run_job
from tests.unit.encoders.kinds import make_image

PROGRESS = JobProgress("test")
TEXT = TextEncoderConfig(model="untrained:dnn:1", max_tokens=48)
CONFIG = finetune_image.FinetuneImageConfig(
    tower=ImageEncoderConfig(model="untrained:cnn:1", image_px=32),
    text=TEXT,
    text_fields=("title",),
    held_out_one_in=4,
    fit=FitConfig(epochs=2, batch_size=8, learning_rate=1e-3),
)
IMAGES = [make_image(np.random.default_rng(number), 40, 30) for number in range(24)]


def write_products(lake: Lake, contents: list[list[bytes]]) -> None:
    rows = []
    for number, views in enumerate(contents):
        images = tuple(
            ImageRef(source=f"{n}.png", sha256=sha256_bytes(content), width=30, height=40, phash="0" * 16)
            for n, content in enumerate(views)
        )
        product = Product(product_id=ProductId(f"p{number}"), title=f"thing {number % 6}", images=images)
        rows.append(product_to_row(product, views))
    with lake.publish("products") as folder:
        PRODUCTS.write_part(PRODUCTS.from_rows(rows), folder, 0)


@pytest.mark.usefixtures("cluster")
def test_a_tower_learns_from_titles_and_opens_as_an_encoder(lake: Lake) -> None:
    write_products(lake, [[content] for content in IMAGES] + [[], [b"torn"]])
    titles = [f"thing {number}" for number in range(3)]
    with lake.publish("text_tower", {"encoder": to_jsonable(TEXT), "folds": 0, "text_fields": ["title"]}) as folder:
        save_text_tower(open_trainable(TEXT), folder)
    config = dataclasses.replace(CONFIG, text=TextEncoderConfig(model="lake:text_tower"))
    own = dataclasses.replace(TEXT, model=str(lake.current("text_tower").path))
    encoder = open_text_encoder(own)
    vectors = dict(zip([sha256_bytes(title.encode()) for title in titles], encoder.encode(titles), strict=True))
    with lake.publish("text_embeddings") as folder:
        places = [EmbeddingKey(f"p{number}", 0, digest) for number, digest in enumerate(vectors)]
        write_vectors(TEXT_EMBEDDINGS, folder, places, vectors, encoder.space_id)
    run_job(finetune_image.JOB, config, lake)
    assert finetune_image.JOB.extra_inputs(lake, config) == {"text_tower": lake.current("text_tower").digest}
    tower = lake.current("image_tower")
    assert tower.notes["text"] == to_jsonable(own)
    record = json.loads((lake.root / "runs" / "finetune_image.json").read_text())["counts"]
    assert record["images"] == 24  # not the product without an image, nor the one with a damaged image
    assert (record["texts"], record["texts_from_cache"]) == (6, 3)
    learned = record["images"] - record["held_out"]
    assert 0 < record["held_out"] < 12
    assert record["steps"] == 2 * -(-learned // 8)
    curve = json.loads((tower.path / TOWER_CURVE).read_text())
    assert [point["step"] for point in curve] == list(range(1, record["steps"] + 1))
    opened = open_image_encoder(ImageEncoderConfig(model=str(tower.path)))
    before = open_image_encoder(CONFIG.tower)
    assert opened.space_id == tower.notes["space_id"] != before.space_id
    assert opened.dim == before.dim
    assert not np.allclose(opened.encode(IMAGES[:2]), before.encode(IMAGES[:2]), atol=1e-3)


def test_a_catalog_without_images_is_refused(lake: Lake) -> None:
    write_products(lake, [[], [b"torn"]])
    with pytest.raises(ConfigError, match=r"no product has both a readable image and a text"):
        finetune_image.run(CONFIG, lake, PROGRESS)


def test_the_clip_family_keeps_no_head(lake: Lake) -> None:
    write_products(lake, [[content] for content in IMAGES[:4]])
    config = finetune_image.FinetuneImageConfig(
        tower=ImageEncoderConfig(model="untrained:clip:1"), text=TEXT, keep_head=True, held_out_one_in=0
    )
    with pytest.raises(ConfigError, match=r"keep_head is true, but the CLIP family has its own projection"):
        finetune_image.run(config, lake, PROGRESS)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text_fields": ()}, r"text_fields is empty; allowed: at least one field"),
        ({"held_out_one_in": 1}, r"held_out_one_in is 1, so no product would be left to train on"),
        ({"held_out_one_in": -1}, r"held_out_one_in is -1; allowed: 0 or more"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        finetune_image.FinetuneImageConfig(**values)  # type: ignore[arg-type]
