"""compress_text on a small lake: the output is smaller, near its teacher, and opens as an encoder."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from intarsia.config import to_jsonable
from intarsia.encoders.config import USE_MULTILINGUAL, TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.errors import ConfigError
from intarsia.ids import ProductId
from intarsia.lake import Lake
from intarsia.records.product import Product
from intarsia.tables.products import PRODUCTS, product_to_row
from intarsia.training.loop import FitConfig
from intarsia.training.text_folder import save_text_tower
from intarsia.training.text_training_data import open_trainable
from pipelines import compress_text
from pipelines.job import JobProgress, run_job

WORDS = ("red", "blue", "shoes", "dress", "linen", "for", "men", "women", "watch", "bag")
CONFIG = compress_text.CompressTextConfig(
    teacher=TextEncoderConfig(model="untrained:bert:4", max_tokens=48),
    kept_layers=(1,),
    cut_heads=1,
    kept_units=96,
    num_probes=8,
    fit=FitConfig(epochs=3, batch_size=16, learning_rate=2e-3),
)

LAKE_MODEL = TextEncoderConfig(model="lake:text_tower", batch_size=8)


def publish_text_tower(lake: Lake, tower: TextEncoderConfig) -> None:
    """Publish a text tower in the format of finetune_text."""
    with lake.publish("text_tower", {"encoder": to_jsonable(tower), "folds": 0, "text_fields": ["title"]}) as folder:
        save_text_tower(open_trainable(tower), folder)


def write_products(lake: Lake, number: int) -> None:
    rng = np.random.default_rng(1)
    titles = [" ".join(rng.choice(WORDS, 4)) for _ in range(number)]
    rows = [product_to_row(Product(product_id=ProductId(f"p{n}"), title=title), ()) for n, title in enumerate(titles)]
    with lake.publish("products") as folder:
        PRODUCTS.write_part(PRODUCTS.from_rows(rows), folder, 0)


@pytest.mark.usefixtures("cluster")
def test_a_small_tower_is_distilled_and_opens_as_an_encoder(lake: Lake) -> None:
    write_products(lake, 100)
    publish_text_tower(lake, CONFIG.teacher)
    config = dataclasses.replace(CONFIG, teacher=LAKE_MODEL)
    assert run_job(compress_text.JOB, config, lake)
    assert not run_job(compress_text.JOB, config, lake)
    counts = json.loads((lake.root / "runs" / "compress_text.json").read_text())["counts"]
    assert counts["parameters"] < counts["parameters_of_teacher"]
    assert 1 - counts["cosine_to_teacher"] < 0.6 * (1 - counts["cosine_to_teacher_before"])
    entry = lake.current("small_text_tower")
    small = open_text_encoder(dataclasses.replace(CONFIG.teacher, model=str(entry.path)))
    assert small.space_id == entry.notes["space_id"] != open_text_encoder(CONFIG.teacher).space_id
    assert entry.notes["encoder"] == {
        **to_jsonable(CONFIG.teacher),
        "model": str(lake.current("text_tower").path),
        "batch_size": LAKE_MODEL.batch_size,
    }
    own = json.loads((entry.path / "config.json").read_text())
    assert (own["num_hidden_layers"], own["intermediate_size"], [len(heads) for heads in own["kept_heads"]]) == (
        1,
        96,
        [3],
    )


def test_a_new_tower_of_the_lake_makes_a_new_small_one(lake: Lake) -> None:
    config = dataclasses.replace(CONFIG, teacher=LAKE_MODEL)
    assert compress_text.JOB.extra_inputs(lake, config) == {}
    digests = []
    for seed in (4, 5):
        publish_text_tower(lake, TextEncoderConfig(model=f"untrained:bert:{seed}"))
        digests.append(lake.current("text_tower").digest)
        assert compress_text.JOB.extra_inputs(lake, config) == {"text_tower": digests[-1]}
    assert digests[0] != digests[1]
    assert compress_text.JOB.extra_inputs(lake, CONFIG) == {}, "another teacher does not look at it"


def test_its_own_output_is_not_allowed_as_teacher(lake: Lake) -> None:
    own = dataclasses.replace(CONFIG, teacher=TextEncoderConfig(model="lake:small_text_tower"))
    with pytest.raises(ConfigError, match=r"model is 'lake:small_text_tower'; allowed here: lake:text_tower$"):
        compress_text.run(own, lake, JobProgress("test"))


def test_a_teacher_without_layers_is_refused(lake: Lake) -> None:
    config = dataclasses.replace(CONFIG, teacher=TextEncoderConfig(model=USE_MULTILINGUAL))
    with pytest.raises(ConfigError, match=r"teacher is 'offline:use-multilingual-v3', which has no layers to remove"):
        compress_text.run(config, lake, JobProgress("test"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text_fields": ()}, r"text_fields is empty; allowed: at least one field"),
        ({"cut_heads": -1}, r"cut_heads is -1; allowed: 0 or more"),
        ({"num_probes": 0}, r"num_probes is 0; allowed: 1 or more"),
        ({"kept_layers": ()}, r"nothing is pruned; set kept_layers, cut_heads or kept_units"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compress_text.CompressTextConfig(**values)  # type: ignore[arg-type]
