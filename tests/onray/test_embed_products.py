"""The jobs embed_products and export_query_encoders on a small lake."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.open import open_query_encoder
from intarsia.errors import ConfigError, ReleaseMismatch
from intarsia.ids import ProductId, sha256_bytes
from intarsia.lake import Lake, write_json
from intarsia.records.product import ImageRef, Product
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS
from intarsia.tables.products import PRODUCTS, product_to_row
from pipelines import embed_products, export_query_encoders
from pipelines.job import JobProgress, run_job
from tests.unit.encoders.kinds import make_image, text_config

pytestmark = pytest.mark.usefixtures("cluster")
PROGRESS = JobProgress("test")


CONFIG = embed_products.EmbedConfig(
    text=text_config("random_bert_mean"),
    image=ImageEncoderConfig(model="torchvision:mobilenet_v3_small", weights="random:7", image_px=64),
    num_workers=1,
    unit_size=3,
)
IMAGES = [make_image(np.random.default_rng(7), 40, 30 + n) for n in range(6)]


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


def shop() -> list[dict[str, object]]:
    """Six products; the fourth has the title and an image of the first, the last two share an image."""
    return [
        product_row(5, "red shoes", IMAGES[:2]),
        product_row(1, "blue shoes", IMAGES[2:3]),
        product_row(2, "蓝牙耳机", []),
        product_row(3, "red shoes", IMAGES[:1]),
        product_row(4, "连衣裙", IMAGES[3:4]),
        product_row(0, "green hat", IMAGES[3:5]),
    ]


@dataclasses.dataclass(frozen=True)
class FirstRun:
    """A lake whose products are embedded, and the counts of the job."""

    lake: Lake
    counts: dict[str, object]


@pytest.fixture(scope="module")
def first_run(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    lake = Lake(tmp_path_factory.mktemp("embedded") / "lake")
    write_products(lake, shop())
    return FirstRun(lake, run(CONFIG, lake))


@pytest.fixture
def embedded(first_run: FirstRun, tmp_path: Path) -> Lake:
    """A copy of the lake of the first run."""
    shutil.copytree(first_run.lake.root, tmp_path / "copy")
    return Lake(tmp_path / "copy")


def run(config: embed_products.EmbedConfig, lake: Lake) -> dict[str, object]:
    return dict(embed_products.run(config, lake, PROGRESS))


def digests(lake: Lake) -> tuple[str, str]:
    return lake.current("text_embeddings").digest, lake.current("image_embeddings").digest


def test_every_view_has_a_row_and_equal_content_is_encoded_once(first_run: FirstRun) -> None:
    assert first_run.counts == {
        "products": 6,
        "texts_encoded": 5,
        "texts_from_cache": 0,
        "images": 7,
        "images_encoded": 5,
        "images_from_cache": 0,
        "images_unreadable": 0,
        "without_image": 1,
    }
    images = IMAGE_EMBEDDINGS.read(first_run.lake.current("image_embeddings"))
    views = list(zip(images["product_id"].to_pylist(), images["view"].to_pylist(), strict=True))
    assert views == [("p0", 0), ("p0", 1), ("p1", 0), ("p3", 0), ("p4", 0), ("p5", 0), ("p5", 1)]
    vectors = dict(zip(views, images["vector"].to_pylist(), strict=True))
    assert vectors["p3", 0] == vectors["p5", 0] != vectors["p5", 1]
    entry = first_run.lake.current("text_embeddings")
    texts = TEXT_EMBEDDINGS.read(entry)
    assert texts["product_id"].to_pylist() == [f"p{n}" for n in range(6)]
    assert set(texts["space_id"].to_pylist()) == {entry.notes["space_id"]}


def test_a_changed_product_is_the_only_one_encoded_again(embedded: Lake) -> None:
    before = TEXT_EMBEDDINGS.read(embedded.current("text_embeddings"))["vector"].to_pylist()
    rows = shop()
    rows[1] = product_row(1, "blue boots", IMAGES[5:])
    write_products(embedded, rows)
    counts = run(CONFIG, embedded)
    assert (counts["texts_encoded"], counts["texts_from_cache"]) == (1, 4)
    assert (counts["images_encoded"], counts["images_from_cache"]) == (1, 4)
    after = TEXT_EMBEDDINGS.read(embedded.current("text_embeddings"))["vector"].to_pylist()
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True, True, True, True]


def test_another_encoder_or_other_fields_encode_every_text_again(embedded: Lake) -> None:
    text = dataclasses.replace(CONFIG.text, pooling="cls")
    changed = dataclasses.replace(CONFIG, text=text, text_fields=("title", "description"))
    counts = run(changed, embedded)
    assert (counts["texts_encoded"], counts["texts_from_cache"]) == (5, 0)
    assert (counts["images_encoded"], counts["images_from_cache"]) == (0, 5)
    texts = TEXT_EMBEDDINGS.read(embedded.current("text_embeddings"))
    assert texts["content_sha256"].to_pylist()[0] == sha256_bytes(b"green hat soft")


def test_the_number_of_workers_does_not_change_the_bytes(first_run: FirstRun, lake: Lake) -> None:
    write_products(lake, shop())
    run(dataclasses.replace(CONFIG, num_workers=2), lake)
    assert digests(lake) == digests(first_run.lake)


def test_the_job_is_up_to_date_although_it_reads_its_own_output(embedded: Lake) -> None:
    first = digests(embedded)
    assert run_job(embed_products.JOB, CONFIG, embedded)
    assert not run_job(embed_products.JOB, CONFIG, embedded)
    assert digests(embedded) == first


def test_an_undecodable_image_does_not_affect_the_others_of_its_batch(embedded: Lake) -> None:
    rows = shop()
    rows[4] = product_row(4, "连衣裙", [b"torn", IMAGES[5]])
    write_products(embedded, rows)
    counts = run(CONFIG, embedded)
    assert (counts["images_unreadable"], counts["images"], counts["without_image"]) == (1, 7, 1)


def test_a_shop_without_images_has_an_empty_image_table(embedded: Lake) -> None:
    write_products(embedded, [{**row, "images": []} for row in shop()])
    assert run(CONFIG, embedded)["without_image"] == 6
    assert IMAGE_EMBEDDINGS.read(embedded.current("image_embeddings")).num_rows == 0


def test_exported_encoders_have_the_spaces_of_the_embeddings(embedded: Lake) -> None:
    counts = export_query_encoders.run(export_query_encoders.ExportConfig(), embedded, PROGRESS)
    assert counts["text_fp32_cosine_to_torch"] == pytest.approx(1.0, abs=1e-5)
    folder = embedded.current("query_encoders").path
    specs = {"text": (TEXT_EMBEDDINGS, "red shoes"), "image": (IMAGE_EMBEDDINGS, IMAGES[0])}
    for modality, (spec, item) in specs.items():
        entry = embedded.current(spec.name)
        encoder = open_query_encoder(folder / modality, "fp32")
        assert encoder.space_id == entry.notes["space_id"]
        table = spec.read(entry)
        catalog_D = np.array(table["vector"][table["product_id"].to_pylist().index("p5")].as_py(), np.float32)
        assert np.allclose(encoder.encode([item])[0], catalog_D, atol=1e-4)


def test_an_encoder_that_changed_since_the_embedding_is_not_exported(embedded: Lake) -> None:
    entry = embedded.current("text_embeddings")
    changed = {**entry.notes, "space_id": "text-000000000000"}
    write_json(
        embedded.root / "text_embeddings" / "current.json",
        {"version": entry.path.name, "digest": entry.digest, "notes": changed},
    )
    with pytest.raises(
        ReleaseMismatch, match=r"text_embeddings are of space text-0000.*, but the encoder .* is now text-"
    ):
        export_query_encoders.run(export_query_encoders.ExportConfig(), embedded, PROGRESS)


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


def test_gpus_that_the_machine_does_not_have_are_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write_products(lake, shop())
    with pytest.raises(ConfigError, match=r"gpus_per_worker is 1.0, and this machine has no GPU that Ray knows"):
        run_job(embed_products.JOB, dataclasses.replace(CONFIG, gpus_per_worker=1.0), lake)
