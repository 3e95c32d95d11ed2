"""embed_products and export_query_encoders on a small lake: cache, duplicates, bad pictures, equal bytes, and the query side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.open import open_query_encoder
from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.ids import ProductId, sha256_bytes
from intarsia.lake import Lake, write_json
from intarsia.onray.actors import in_actors
from intarsia.records.product import ImageRef, Product
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS
from intarsia.tables.products import PRODUCTS, product_to_row
from pipelines import embed_products, export_query_encoders
from pipelines.job import Progress, execute
from tests.unit.encoders.kinds import picture, text_config

pytestmark = pytest.mark.usefixtures("cluster")
PROGRESS = Progress("test")


@pytest.fixture
def config() -> embed_products.EmbedConfig:
    return embed_products.EmbedConfig(
        text=text_config("random_bert_mean"),
        image=ImageEncoderConfig(model="torchvision:mobilenet_v3_small", weights="random:7", image_px=64),
        num_workers=2,
        unit_size=3,
    )


@pytest.fixture
def pictures(rng: np.random.Generator) -> list[bytes]:
    return [picture(rng, 40, 30) for _ in range(5)]


def product_row(number: int, title: str, contents: Sequence[bytes]) -> dict[str, object]:
    images = tuple(
        ImageRef(source=f"{n}.png", sha256=sha256_bytes(content), width=30, height=40, phash="0" * 16)
        for n, content in enumerate(contents)
    )
    product = Product(product_id=ProductId(f"p{number}"), title=title, description="soft", images=images)
    return product_to_row(product, contents)


def write_products(lake: Lake, rows: Sequence[dict[str, object]]) -> None:
    with lake.publish("products") as folder:
        PRODUCTS.write_part(PRODUCTS.from_rows(rows[:3]), folder, 0)
        PRODUCTS.write_part(PRODUCTS.from_rows(rows[3:]), folder, 1)


@pytest.fixture
def rows(lake: Lake, pictures: list[bytes]) -> list[dict[str, object]]:
    """Six products: views 2, 1, 0, 1, 1, 2; the fourth repeats the first's title and picture."""
    rows = [
        product_row(5, "red shoes", pictures[:2]),
        product_row(1, "blue shoes", pictures[2:3]),
        product_row(2, "蓝牙耳机", []),
        product_row(3, "red shoes", pictures[:1]),
        product_row(4, "连衣裙", pictures[3:4]),
        product_row(0, "green hat", pictures[3:5]),
    ]
    write_products(lake, rows)
    return rows


def run(config: embed_products.EmbedConfig, lake: Lake) -> dict[str, object]:
    return dict(embed_products.run(config, lake, PROGRESS))


def digests(lake: Lake) -> tuple[str, str]:
    return lake.current("text_embeddings").digest, lake.current("image_embeddings").digest


def test_every_view_has_a_row_and_equal_content_is_encoded_once(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]]
) -> None:
    counts = run(config, lake)
    assert counts == {
        "products": 6,
        "texts_encoded": 5,
        "texts_from_cache": 0,
        "pictures": 7,
        "pictures_encoded": 5,
        "pictures_from_cache": 0,
        "pictures_unreadable": 0,
        "without_image": 1,
    }
    images = IMAGE_EMBEDDINGS.read(lake.current("image_embeddings"))
    views = list(zip(images["product_id"].to_pylist(), images["view"].to_pylist(), strict=True))
    assert views == [("p0", 0), ("p0", 1), ("p1", 0), ("p3", 0), ("p4", 0), ("p5", 0), ("p5", 1)]
    vectors = dict(zip(views, images["vector"].to_pylist(), strict=True))
    assert vectors["p3", 0] == vectors["p5", 0] != vectors["p5", 1]
    texts = TEXT_EMBEDDINGS.read(lake.current("text_embeddings"))
    assert texts["product_id"].to_pylist() == [f"p{n}" for n in range(6)]
    assert set(texts["space_id"].to_pylist()) == {lake.current("text_embeddings").notes["space_id"]}


def test_changing_one_product_embeds_one_product(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]], rng: np.random.Generator
) -> None:
    run(config, lake)
    before = TEXT_EMBEDDINGS.read(lake.current("text_embeddings"))["vector"].to_pylist()
    rows[1] = product_row(1, "blue boots", [picture(rng, 40, 30)])
    write_products(lake, rows)
    counts = run(config, lake)
    assert (counts["texts_encoded"], counts["texts_from_cache"]) == (1, 4)
    assert (counts["pictures_encoded"], counts["pictures_from_cache"]) == (1, 4)
    after = TEXT_EMBEDDINGS.read(lake.current("text_embeddings"))["vector"].to_pylist()
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True, True, True, True]


def test_another_encoder_embeds_everything_again(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]]
) -> None:
    run(config, lake)
    counts = run(dataclasses.replace(config, text=dataclasses.replace(config.text, pooling="cls")), lake)
    assert (counts["texts_encoded"], counts["texts_from_cache"]) == (5, 0)
    assert (counts["pictures_encoded"], counts["pictures_from_cache"]) == (0, 5)


def test_the_number_of_workers_does_not_change_the_bytes(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]], tmp_path: Path
) -> None:
    run(config, lake)
    other = Lake(tmp_path / "other")
    write_products(other, rows)
    run(dataclasses.replace(config, num_workers=1), other)
    assert digests(other) == digests(lake)


def test_a_second_run_is_up_to_date_though_the_job_reads_its_own_output(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]]
) -> None:
    assert execute(embed_products.JOB, config, lake)
    first = digests(lake)
    assert not execute(embed_products.JOB, config, lake)
    assert execute(embed_products.JOB, config, lake, again=True)
    assert digests(lake) == first


def test_a_picture_that_cannot_be_decoded_costs_only_itself(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]], pictures: list[bytes]
) -> None:
    rows[4] = product_row(4, "连衣裙", [b"torn", pictures[4]])
    write_products(lake, rows)
    counts = run(config, lake)
    assert (counts["pictures_unreadable"], counts["pictures"], counts["without_image"]) == (1, 7, 1)


def test_a_shop_without_pictures_has_an_empty_image_table(config: embed_products.EmbedConfig, lake: Lake) -> None:
    write_products(lake, [product_row(n, f"thing {n}", []) for n in range(4)])
    assert run(config, lake)["without_image"] == 4
    assert IMAGE_EMBEDDINGS.read(lake.current("image_embeddings")).num_rows == 0


def test_the_text_fields_decide_what_is_read(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]]
) -> None:
    run(config, lake)
    counts = run(dataclasses.replace(config, text_fields=("title", "description")), lake)
    assert counts["texts_encoded"] == 5
    texts = TEXT_EMBEDDINGS.read(lake.current("text_embeddings"))
    assert texts["content_sha256"].to_pylist()[0] == sha256_bytes(b"green hat soft")


def test_the_exported_encoders_live_in_the_spaces_of_the_embeddings(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]], pictures: list[bytes]
) -> None:
    run(config, lake)
    counts = export_query_encoders.run(export_query_encoders.ExportConfig(), lake, PROGRESS)
    assert counts["text_fp32_cosine_to_torch"] == pytest.approx(1.0, abs=1e-5)
    folder = lake.current("query_encoders").path
    for modality, item in (("text", "red shoes"), ("image", pictures[0])):
        entry = lake.current(f"{modality}_embeddings")
        encoder = open_query_encoder(folder / modality, "fp32")
        assert encoder.space_id == entry.notes["space_id"]
        spec = TEXT_EMBEDDINGS if modality == "text" else IMAGE_EMBEDDINGS
        table = spec.read(entry)
        catalog_D = np.array(table["vector"][table["product_id"].to_pylist().index("p5")].as_py(), np.float32)
        assert np.allclose(encoder.encode([item])[0], catalog_D, atol=1e-4)


def test_an_encoder_that_changed_since_the_embedding_is_not_exported(
    config: embed_products.EmbedConfig, lake: Lake, rows: list[dict[str, object]]
) -> None:
    run(config, lake)
    entry = lake.current("text_embeddings")
    changed = {**entry.notes, "space_id": "text-000000000000"}
    write_json(
        lake.root / "text_embeddings" / "current.json",
        {"version": entry.path.name, "digest": entry.digest, "notes": changed},
    )
    with pytest.raises(
        ReleaseMismatch, match=r"text_embeddings are of space text-000000000000, but the encoder .* is now text-"
    ):
        export_query_encoders.run(export_query_encoders.ExportConfig(), lake, PROGRESS)


def test_an_error_inside_an_actor_arrives_as_it_was(tmp_path: Path) -> None:
    def open_work() -> object:
        raise ArtifactError("no weights here")

    with pytest.raises(ArtifactError, match=r"no weights here"):
        list(in_actors([1, 2], open_work, num_actors=1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text_fields": ()}, r"text_fields is empty"),
        ({"num_workers": 0}, r"num_workers is 0; allowed: 1 or more"),
        ({"unit_size": 0}, r"unit_size is 0; allowed: 1 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        embed_products.EmbedConfig(text=TextEncoderConfig(), **values)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"num_probes": 0}, r"num_probes is 0"), ({"min_int8_cosine": 1.5}, r"min_int8_cosine is 1.5; allowed: 0 to 1")],
)
def test_an_export_setting_out_of_range_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        export_query_encoders.ExportConfig(**values)
