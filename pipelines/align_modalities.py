"""products, text_embeddings, image_embeddings (+ queries, judgments) -> `alignment`: one vector space for text and
images.

The encoders are frozen and their vectors are read from the tables. Only projections are trained, which takes minutes.
Judged train queries are used; for a ranker or fusion fitted on the same queries there is one head per fold trained
without it (see `encoders/aligned.py`).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import ray
from scipy.sparse import csr_matrix

from intarsia.config import build, check_range, setting, to_jsonable
from intarsia.encoders.aligned import frequent_words
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.errors import DataError
from intarsia.ids import SpaceId, fold_of
from intarsia.index.from_tables import CatalogVectors, read_catalog_vectors
from intarsia.lake import Lake, write_json
from intarsia.onray.torch_training import TorchWorkersConfig, train_on_workers
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS
from intarsia.tables.judgments import JUDGMENTS, QUERIES
from intarsia.tables.products import PRODUCTS
from intarsia.training.alignment import AlignConfig, AlignTask, AlignTrainingData, EncodedTexts
from intarsia.training.checkpoint import load_trained
from intarsia.training.loop import FitConfig
from pipelines.job import Counts, Job, JobProgress, main, resumable_run_dir

_HOLDOUT_PARTS = 1000  # product groups are hashed into this many parts; the first ones are held out
_default_fit = functools.partial(
    FitConfig, epochs=10, batch_size=512, learning_rate=2e-3, schedule="cosine", checkpoint_every=100
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignModalitiesConfig:
    """The heads, their training pairs, and the fit."""

    heads: AlignConfig = setting("shape of the heads, and training pairs", factory=AlignConfig)
    fit: FitConfig = setting("the fit of the heads", factory=_default_fit, advanced=True)
    min_steps: int = setting(
        "smallest number of steps; on a small catalog the number of epochs is raised above fit.epochs",
        300,
        advanced=True,
    )
    workers: TorchWorkersConfig = setting("Ray Train workers", factory=TorchWorkersConfig)

    def __post_init__(self) -> None:
        check_range(self, "min_steps", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImagedProducts:
    """The products that have an image, by number."""

    ids: Sequence[str]
    titles: Sequence[str]
    groups: Sequence[str]


def run(config: AlignModalitiesConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Read the vectors, fit the heads, publish them with metrics of the held-out products."""
    texts, images = lake.current("text_embeddings"), lake.current("image_embeddings")
    training_data = read_align_training_data(config.heads, lake)
    training_texts = [*training_data.titles.words, *training_data.queries.words]
    word_index = frequent_words(training_texts, min_texts=config.heads.min_texts, max_words=config.heads.max_words)
    progress("words", len(word_index), len(word_index))
    task_factory = functools.partial(_build_task, ray.put(training_data), config.heads, word_index, config.fit.seed)
    task = AlignTask(training_data, config.heads, word_index, seed=config.fit.seed)
    metrics_before = task.measure()

    def on_step(done: int, total: int, left_s: float) -> None:
        progress(f"{left_s:.0f} s to go, step", done, total)

    logs = lake.root / "logs" / JOB.name
    fit = _with_min_steps(config, task.num_examples)
    with resumable_run_dir(JOB, config, lake) as run_dir:
        fitted = train_on_workers(
            task_factory, fit, config.workers, run_dir, on_step=on_step, logs=logs, resume_as="heads"
        )
        load_trained(task.module, fitted.state)
        metrics = task.measure()
        alignment = task.alignment(SpaceId(texts.notes["space_id"]), SpaceId(images.notes["space_id"]))
        with lake.publish("alignment", {"space_id": alignment.space_id, "dim": alignment.dim}) as folder:
            alignment.save(folder)
            curve = {"curve": to_jsonable(fitted.curve), "kept_step": fitted.kept_step}
            write_json(folder / "curve.json", curve | {"held_out": metrics, "untrained": metrics_before})
    return {
        "images": len(training_data.owners_V),
        "words": len(word_index),
        "judged_queries": len(training_data.query_ids),
        "held_out": int(training_data.held_out_N.sum()),
        "steps": fitted.num_steps,
        "resumed": fitted.num_resumed,
        **{name: round(value, 4) for name, value in metrics.items()},
    }


def read_align_training_data(config: AlignConfig, lake: Lake) -> AlignTrainingData:
    """Read the training data of the heads, for the products that have an image.

    Raises:
        DataError: no product has an image.
    """
    product_ids = _product_ids(lake)
    texts = read_catalog_vectors(TEXT_EMBEDDINGS, lake.current("text_embeddings"), product_ids, every_product=True)
    images = read_catalog_vectors(IMAGE_EMBEDDINGS, lake.current("image_embeddings"), product_ids)
    rows = np.unique(images.rows_V)
    if not len(rows):
        raise DataError(
            table="image_embeddings",
            field="vector",
            found="none",
            allowed="products with images",
            fix="remove align_modalities from the config, or add images to products",
        )
    catalog = _read_catalog(lake, [product_ids[row] for row in rows])
    ids_Q, words_Q, gains_QN = _read_judged(lake, catalog)
    num_held_out_parts = config.holdout_share * _HOLDOUT_PARTS
    held_out_N = np.array([fold_of(group, _HOLDOUT_PARTS) < num_held_out_parts for group in catalog.groups], np.bool_)
    if held_out_N.all():  # too few products: train on all and measure nothing
        held_out_N[:] = False
    return AlignTrainingData(
        titles=EncodedTexts(words=catalog.titles, vectors_NT=_vectors_of(texts, rows)),
        images_VE=images.vectors_VD,
        owners_V=np.searchsorted(rows, images.rows_V),
        groups_N=np.unique(np.array(catalog.groups, np.str_), return_inverse=True)[1],
        held_out_N=held_out_N,
        queries=EncodedTexts(words=words_Q, vectors_NT=_encode(lake, words_Q, texts.vectors_VD.shape[1])),
        query_ids=ids_Q,
        gains_QN=gains_QN,
    )


def _build_task(training_data: ray.ObjectRef, config: AlignConfig, word_index: dict[str, int], seed: int) -> AlignTask:
    return AlignTask(cast(AlignTrainingData, ray.get(training_data)), config, word_index, seed=seed)


def _with_min_steps(config: AlignModalitiesConfig, num_examples: int) -> FitConfig:
    steps = math.ceil(math.ceil(num_examples / config.fit.batch_size) / config.fit.accumulate)
    return replace(config.fit, epochs=max(config.fit.epochs, math.ceil(config.min_steps / steps)))


def _product_ids(lake: Lake) -> list[str]:
    product_ids: list[str] = PRODUCTS.read(lake.current("products"), ["product_id"])["product_id"].to_pylist()
    return sorted(product_ids)


def _read_catalog(lake: Lake, ids: Sequence[str]) -> _ImagedProducts:
    """Titles and groups; products with the same title, and near-duplicates, are one group."""
    table = PRODUCTS.read(lake.current("products"), ["product_id", "title", "duplicate_group"])
    row_of = {row["product_id"]: row for row in table.to_pylist()}
    rows = [row_of[product_id] for product_id in ids]
    return _ImagedProducts(
        ids=ids,
        titles=[row["title"] for row in rows],
        groups=[row["duplicate_group"] or f"\0{row['title']}" for row in rows],
    )


def _read_judged(lake: Lake, catalog: _ImagedProducts) -> tuple[list[str], list[str], csr_matrix]:
    """The train queries that have text: ids, texts, and the gain of each product."""
    num_products = len(catalog.ids)
    if not (lake.has("queries") and lake.has("judgments")):
        return [], [], csr_matrix((0, num_products))
    rows = QUERIES.read(lake.current("queries"), ["query_id", "text", "split"]).to_pylist()
    text_of = {row["query_id"]: row["text"] for row in rows if row["split"] == "train" and row["text"]}
    ids = sorted(text_of)
    query_row = {query_id: row for row, query_id in enumerate(ids)}
    product_row = {product_id: row for row, product_id in enumerate(catalog.ids)}
    judgments = JUDGMENTS.read(lake.current("judgments"), ["query_id", "product_id", "grade"]).to_pylist()
    entries = [
        (query_row[row["query_id"]], product_row[row["product_id"]], 2.0 ** row["grade"] - 1.0)
        for row in judgments
        if row["query_id"] in query_row and row["product_id"] in product_row and row["grade"] > 0
    ]
    queries, products, gains = zip(*entries, strict=True) if entries else ((), (), ())
    return ids, [text_of[i] for i in ids], csr_matrix((gains, (queries, products)), shape=(len(ids), num_products))


def _encode(lake: Lake, words: Sequence[str], width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    if not words:
        return np.empty((0, width), np.float32)
    notes = lake.current("text_embeddings").notes
    encoder = open_text_encoder(build(TextEncoderConfig, notes["encoder"], where="text_embeddings.encoder"))
    return encoder.encode(words)


def _vectors_of(
    texts: CatalogVectors, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return texts.vectors_VD[np.searchsorted(texts.rows_V, rows)]


JOB = Job(
    name="align_modalities",
    summary="vectors of frozen encoders -> one space for text and images (Ray Train)",
    config=AlignModalitiesConfig,
    reads=("products", "text_embeddings", "image_embeddings"),
    optional_reads=("queries", "judgments"),
    writes=("alignment",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
