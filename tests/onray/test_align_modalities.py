"""align_modalities on a small lake: text finds images, and later jobs use the aligned space."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from intarsia.encoders.aligned import Alignment
from intarsia.encoders.config import ImageEncoderConfig
from intarsia.engine.encode import QueryEncoders
from intarsia.engine.retrieve import stored_spaces
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.ids import ProductId, QueryId, sha256_bytes
from intarsia.index.vector_files import open_vector_index
from intarsia.lake import Lake
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.records.product import ImageRef, Product
from intarsia.tables.judgments import JUDGMENTS, QUERIES, judgment_to_row, query_to_row
from intarsia.tables.products import PRODUCTS, product_to_row
from intarsia.training.alignment import AlignConfig
from intarsia.training.loop import FitConfig
from pipelines import align_modalities, build_indexes, embed_products, export_query_encoders
from pipelines.job import JobProgress, run_job
from tests.unit.encoders.kinds import text_config
from tests.unit.engine.small_release import COLOURS, image

pytestmark = pytest.mark.usefixtures("cluster")
NUM_PRODUCTS = 90
EMBED = embed_products.EmbedConfig(
    text=text_config("random_bert_mean"),
    image=ImageEncoderConfig(model="torchvision:mobilenet_v3_small", weights="random:7", image_px=32),
)
ALIGN = align_modalities.AlignModalitiesConfig(
    heads=AlignConfig(dim=16, num_folds=2, min_texts=2),
    fit=FitConfig(epochs=2, batch_size=32, learning_rate=0.02, checkpoint_every=0),
    min_steps=60,
)


@dataclass(frozen=True)
class Aligned:
    """A lake with an alignment."""

    lake: Lake
    alignment: Alignment


@pytest.fixture(scope="module")
def aligned(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    lake = Lake(tmp_path_factory.mktemp("aligned") / "lake")
    publish_shop(lake, [product_row(number) for number in range(NUM_PRODUCTS)])
    run_job(align_modalities.JOB, ALIGN, lake)
    run_job(export_query_encoders.JOB, export_query_encoders.ExportConfig(num_probes=2, min_int8_cosine=0.0), lake)
    run_job(build_indexes.JOB, build_indexes.BuildIndexesConfig(), lake)
    return Aligned(lake, Alignment.open(lake.current("alignment").path))


def product_row(number: int, *, imaged: bool = True) -> dict[str, object]:
    """Every third title has no colour, every tenth product no image."""
    colour = COLOURS[number % len(COLOURS)]
    contents = [image(colour, number % 2)] if imaged and number % 10 else []
    images = tuple(
        ImageRef(source="a.png", sha256=sha256_bytes(b), width=12, height=9, phash="0" * 16) for b in contents
    )
    title = f"{colour} bag {number}" if number % 3 else f"bag {number}"
    return product_to_row(Product(product_id=ProductId(f"p{number:03}"), title=title, images=images), contents)


def publish_products(lake: Lake, rows: Sequence[dict[str, object]]) -> None:
    with lake.publish("products") as folder:
        PRODUCTS.write_part(PRODUCTS.from_rows(rows), folder, 0)


def publish_shop(lake: Lake, rows: Sequence[dict[str, object]]) -> None:
    publish_products(lake, rows)
    queries = [
        JudgedQuery(query_id=QueryId(f"q{n}"), text=f"{colour} thing", image=None, locale="en", split="train")
        for n, colour in enumerate(COLOURS)
    ]
    judgments = [
        Judgment(query_id=QueryId(f"q{number % len(COLOURS)}"), product_id=ProductId(f"p{number:03}"), grade=3.0)
        for number in range(NUM_PRODUCTS)
    ]
    with lake.publish("queries") as folder:
        QUERIES.write_part(QUERIES.from_rows([query_to_row(q) for q in queries]), folder, 0)
    with lake.publish("judgments") as folder:
        JUDGMENTS.write_part(JUDGMENTS.from_rows([judgment_to_row(j) for j in judgments]), folder, 0)
    run_job(embed_products.JOB, EMBED, lake)


def test_a_colour_word_finds_images_whose_titles_lack_it(aligned: Aligned) -> None:
    encoders = QueryEncoders.open(aligned.lake.current("query_encoders").path)
    index = open_vector_index(aligned.lake.current("indexes").path / "aligned")
    assert encoders.aligned is not None
    for number, colour in enumerate(COLOURS):
        asked_D = encoders.aligned.text(colour, encoders.text.encode([colour])[0])
        rows = index.search(asked_D[np.newaxis], 10, None).rows_Qk[0]
        assert sum(int(row) % len(COLOURS) == number for row in rows) >= 8
        assert any(int(row) % 3 == 0 for row in rows)


def test_index_and_query_encoders_use_the_aligned_space(aligned: Aligned) -> None:
    encoders = QueryEncoders.open(aligned.lake.current("query_encoders").path)
    encoders.check_spaces(dict(stored_spaces(aligned.lake.current("indexes").path)))  # type: ignore[arg-type]
    assert encoders.aligned is not None
    assert (
        encoders.aligned.space_id == aligned.alignment.space_id == aligned.lake.current("alignment").notes["space_id"]
    )
    assert aligned.alignment.heads.num_folds == 2


def test_curve_and_metrics_are_stored_with_the_heads(aligned: Aligned) -> None:
    curve_file = json.loads((aligned.lake.current("alignment").path / "curve.json").read_text(encoding="utf-8"))
    assert len(curve_file["curve"]) >= ALIGN.min_steps
    assert curve_file["curve"][-1]["loss"] < curve_file["curve"][0]["loss"]
    assert curve_file["kept_step"] == curve_file["curve"][-1]["step"], "nothing is watched, so the last is kept"
    assert curve_file["held_out"].keys() == curve_file["untrained"].keys() >= {"text_to_image_mrr", "image_to_text_r@1"}
    assert list((aligned.lake.root / "logs" / "align_modalities").rglob("events.*"))


def test_it_is_up_to_date_until_its_inputs_change(aligned: Aligned) -> None:
    assert not run_job(align_modalities.JOB, ALIGN, aligned.lake)


@pytest.mark.parametrize("changed", ["text", "image"])
def test_an_alignment_over_another_encoder_is_refused(aligned: Aligned, tmp_path: Path, changed: str) -> None:
    lake = copied(aligned.lake, tmp_path)
    spaces = {name: lake.current(f"{name}_embeddings").notes["space_id"] for name in ("text", "image")}
    spaces[changed] = f"{changed}-of-old"
    with lake.publish("alignment", {}) as folder:
        one = align_modalities.AlignTask(
            align_modalities.read_align_training_data(ALIGN.heads, lake), ALIGN.heads, {"red": 0}, seed=0
        )
        one.alignment(spaces["text"], spaces["image"]).save(folder)
    with pytest.raises(
        ReleaseMismatch, match=rf"the alignment is of {changed} space {changed}-of-old.*run align_modalities again"
    ):
        build_indexes.run(build_indexes.BuildIndexesConfig(), lake, JobProgress("test"))


def test_a_catalog_without_images_is_refused(aligned: Aligned, tmp_path: Path) -> None:
    lake = copied(aligned.lake, tmp_path)
    publish_products(lake, [product_row(number, imaged=False) for number in range(4)])
    run_job(embed_products.JOB, EMBED, lake)  # every text is in the cache
    with pytest.raises(DataError, match="image_embeddings: vector is 'none'; allowed: products with images"):
        align_modalities.run(ALIGN, lake, JobProgress("test"))


def copied(lake: Lake, folder: Path) -> Lake:
    """A copy of a lake."""
    shutil.copytree(lake.root, folder / "copy")
    return Lake(folder / "copy")
