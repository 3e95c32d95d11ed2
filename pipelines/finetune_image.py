"""products -> `image_tower`: an image encoder fine-tuned on the texts of the images' products, as a folder for
`embed_products`.

The text encoder is frozen: the vectors of the texts are taken from the lake where possible and computed otherwise. No
judgment and no event is read.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intarsia.config import check_range, setting, to_jsonable
from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.image_folder import TrainableImage, save_trained
from intarsia.encoders.inputs import TextField, product_text
from intarsia.encoders.lake_models import (
    TEXT_TOWERS,
    TOWER_CURVE,
    TOWER_SETTINGS,
    lake_model_digest,
    resolve_lake_model,
)
from intarsia.encoders.open import open_image_encoder, open_text_encoder
from intarsia.encoders.store import frozen_vectors
from intarsia.errors import ConfigError
from intarsia.ids import fold_of
from intarsia.image import ImageError, decode
from intarsia.lake import Entry, Lake, staging_dir, write_json
from intarsia.onray.torch_training import TorchWorkersConfig, train_on_workers
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, row_to_product
from intarsia.training.checkpoint import load_trained
from intarsia.training.image_pairs import ImagePairsConfig, ImagePairsTask, ImageTrainingData, open_trainable_image
from intarsia.training.loop import FitConfig, FitResult
from pipelines.job import Counts, Job, JobProgress, main, resumable_run_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneImageConfig:
    """The tower before the fit, its training data, and the fit."""

    tower: ImageEncoderConfig = setting("the image encoder to fine-tune", factory=ImageEncoderConfig)
    text: TextEncoderConfig = setting(
        "the frozen text encoder; model may be lake:text_tower or lake:small_text_tower", factory=TextEncoderConfig
    )
    text_fields: tuple[TextField, ...] = setting("product fields that make an image's text", ("title", "category"))
    pairs: ImagePairsConfig = setting(
        "which weights are trained, and the loss", factory=ImagePairsConfig, advanced=True
    )
    keep_head: bool = setting(
        "keep the head, so that image vectors are in the space of the texts, with their width; false removes the head. "
        "Not for the CLIP family",
        False,
    )
    held_out_one_in: int = setting(
        "one product in this many is held out to measure the fit; 0: none", 10, advanced=True
    )
    fit: FitConfig = setting(
        "the fit", factory=functools.partial(FitConfig, epochs=2, learning_rate=3e-4, checkpoint_every=50)
    )
    workers: TorchWorkersConfig = setting("Ray Train workers", factory=TorchWorkersConfig)

    def __post_init__(self) -> None:
        if not self.text_fields:
            raise ValueError("text_fields is empty; allowed: at least one field")
        check_range(self, "held_out_one_in", low=0)
        if self.held_out_one_in == 1:
            raise ValueError("held_out_one_in is 1, so no product would be left to train on; allowed: 0, or 2 and more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTaskFactory:
    """Builds the task of the fit; small, so that it can be sent to workers, which read the images themselves."""

    tower: ImageEncoderConfig
    pairs: ImagePairsConfig
    seed: int
    products: Entry
    texts: Path

    def __call__(self) -> ImagePairsTask:
        """Build the task, with its tower as it is before the fit."""
        return self.build()[1]

    def build(self) -> tuple[TrainableImage, ImagePairsTask]:
        """Build the tower that is trained, and its task."""
        trainable = open_trainable_image(self.tower)
        with np.load(self.texts) as arrays:
            product_ids: list[str] = arrays["product_ids"].tolist()
            texts_NT, groups_N, held_out_N = arrays["texts"], arrays["groups"], arrays["held_out"]
        image_of = dict(_images(self.products, set(product_ids)))
        training_data = ImageTrainingData(
            images=[image_of[product_id] for product_id in product_ids],
            texts_NT=texts_NT,
            groups_N=groups_N,
            held_out_N=held_out_N,
        )
        return trainable, ImagePairsTask(trainable, training_data, self.pairs, seed=self.seed)


def run(config: FinetuneImageConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Read images and texts, fit, publish."""
    products = lake.current("products")
    texts = _texts_of_imaged(products, config)
    text_config = resolve_lake_model(config.text, TEXT_TOWERS, lake)
    with resumable_run_dir(JOB, config, lake) as run_dir, staging_dir(lake.root / JOB.name) as staging:
        path = staging / "texts.npz"
        counts = _write_training_data(texts, text_config, config.held_out_one_in, lake, path)
        task_factory = ImageTaskFactory(
            tower=config.tower, pairs=config.pairs, seed=config.fit.seed, products=products, texts=path
        )
        trainable, task = task_factory.build()
        if config.keep_head and trainable.shape is None:
            raise ConfigError("keep_head is true, but the CLIP family has its own projection; set keep_head to false")
        task.module.eval()
        before = task.measure()

        def on_step(done: int, total: int, left_s: float) -> None:
            progress(f"{left_s:.0f} s to go,", done, total)

        logs = lake.root / "logs" / JOB.name
        fitted = train_on_workers(
            task_factory, config.fit, config.workers, run_dir, on_step=on_step, logs=logs, resume_as="tower"
        )
        load_trained(task.module, fitted.state)
        task.module.eval()
        after = task.measure()
        task.adapters.merge()
        head = task.head if config.keep_head else None
        notes: dict[str, object] = {"text_fields": list(config.text_fields), "text": to_jsonable(text_config)}
        with lake.publish("image_tower", notes) as folder:
            save_trained(trainable, head, folder)
            _describe(config, fitted, before, after, folder)
            notes["space_id"] = open_image_encoder(ImageEncoderConfig(model=str(folder))).space_id
    return {
        **counts,
        "steps": fitted.num_steps,
        "resumed": fitted.num_resumed,
        **{f"held_out_{name}_before": round(value, 4) for name, value in before.items()},
        **{f"held_out_{name}": round(value, 4) for name, value in after.items()},
    }


def _texts_of_imaged(products: Entry, config: FinetuneImageConfig) -> dict[str, str]:
    """The text of every product whose first image can be decoded."""
    readable = {product_id for product_id, content in _images(products, None) if _is_readable(content)}
    texts: dict[str, str] = {}
    for batch in PRODUCTS.batches(products, COLUMNS_WITHOUT_IMAGE_BYTES):
        for row in batch.to_pylist():
            if row["product_id"] in readable and (text := product_text(row_to_product(row)[0], config.text_fields)):
                texts[row["product_id"]] = text
    if not texts:
        raise ConfigError(
            "no product has both a readable image and a text; check the images setting of ingest_catalog, or "
            "text_fields"
        )
    return texts


def _write_training_data(
    texts: Mapping[str, str], text_config: TextEncoderConfig, one_in: int, lake: Lake, path: Path
) -> dict[str, object]:
    """Write vectors of the texts, groups of equal texts and held-out flags, sorted by product id."""
    product_ids = sorted(texts)
    numbers = {text: number for number, text in enumerate(sorted(set(texts.values())))}
    vectors_UT, num_known = frozen_vectors(list(numbers), open_text_encoder(text_config), lake)
    groups_N = np.array([numbers[texts[product_id]] for product_id in product_ids], np.int64)
    held_out_N = np.array([one_in > 0 and fold_of(product_id, one_in) == 0 for product_id in product_ids])
    np.savez(path, product_ids=np.array(product_ids), texts=vectors_UT[groups_N], groups=groups_N, held_out=held_out_N)
    return {
        "images": len(product_ids),
        "held_out": int(held_out_N.sum()),
        "texts": len(numbers),
        "texts_from_cache": num_known,
    }


def _images(products: Entry, wanted: set[str] | None) -> list[tuple[str, bytes]]:
    """Id and first image of the wanted products; None: of all products with an image."""
    images: list[tuple[str, bytes]] = []
    for batch in PRODUCTS.batches(products, ["product_id", "images"], num_rows=64):
        for row in batch.to_pylist():
            if row["images"] and (wanted is None or row["product_id"] in wanted):
                images.append((row["product_id"], row["images"][0]["bytes"]))
    return images


def _is_readable(content: bytes) -> bool:
    try:
        decode(content)
    except ImageError:
        return False
    return True


def _describe(
    config: FinetuneImageConfig,
    fitted: FitResult,
    before: Mapping[str, float],
    after: Mapping[str, float],
    folder: Path,
) -> None:
    write_json(folder / TOWER_CURVE, to_jsonable(fitted.curve))
    write_json(
        folder / TOWER_SETTINGS,
        {
            "config": to_jsonable(config),
            "steps": fitted.num_steps,
            "kept_step": fitted.kept_step,
            "held_out": {"before": before, "after": after},
        },
    )


JOB = Job(
    name="finetune_image",
    summary="products -> an image encoder fine-tuned on the texts of their products",
    config=FinetuneImageConfig,
    reads=("products",),
    extra_inputs=lambda lake, config: lake_model_digest(config.text, lake),
    writes=("image_tower",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
