"""products -> `small_text_tower`: a text encoder with fewer layers, heads or units, distilled from a larger one.

It is trained on the texts of the catalog and spans of them; no query and no judgment is read. It has its own vector
space: a catalog that is searched with it must be embedded with it (`embed_products.text.model: lake:small_text_tower`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from intarsia.config import check_range, setting, to_jsonable
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.inputs import TextField, product_text
from intarsia.encoders.lake_models import lake_model_digest, resolve_lake_model
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.store import frozen_vectors
from intarsia.encoders.transformer import TransformerTextEncoder
from intarsia.errors import ConfigError
from intarsia.lake import Lake, staging_dir
from intarsia.onray.torch_training import TorchWorkersConfig, train_on_workers
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, row_to_product
from intarsia.training.checkpoint import load_trained
from intarsia.training.compression import (
    DistillationTask,
    encoder_with,
    keep_layers,
    prune_heads,
    prune_units,
    with_spans,
)
from intarsia.training.loop import FitConfig
from intarsia.training.text_folder import save_text_tower
from pipelines.job import Counts, Job, JobProgress, main, resumable_run_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressTextConfig:
    """The teacher, what is pruned, and the distillation."""

    teacher: TextEncoderConfig = setting(
        "the large encoder, a transformer; model may be lake:text_tower",
        factory=TextEncoderConfig,
    )
    text_fields: tuple[TextField, ...] = setting(
        "product fields that make a product's text; use the setting of embed_products", ("title",)
    )
    kept_layers: tuple[int, ...] = setting("numbers of the layers to keep, from 0; empty: all", (0, 2, 5))
    cut_heads: int = setting(
        "number of attention heads to remove, over all layers, the least important first; 0: none", 0, advanced=True
    )
    kept_units: int = setting("inner units to keep per layer, the most important ones; 0: all", 0, advanced=True)
    num_probes: int = setting("texts on which the importance of heads and units is measured", 64, advanced=True)
    fit: FitConfig = setting(
        "the distillation",
        factory=functools.partial(FitConfig, epochs=2, batch_size=32, learning_rate=3e-4, checkpoint_every=50),
    )
    workers: TorchWorkersConfig = setting("Ray Train workers", factory=TorchWorkersConfig)

    def __post_init__(self) -> None:
        if not self.text_fields:
            raise ValueError("text_fields is empty; allowed: at least one field")
        check_range(self, "cut_heads", "kept_units", low=0)
        check_range(self, "num_probes", low=1)
        if not (self.kept_layers or self.cut_heads or self.kept_units):
            raise ValueError("nothing is pruned; set kept_layers, cut_heads or kept_units")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationTaskFactory:
    """Builds the task of the fit; small, so that it can be sent to workers."""

    student: TextEncoderConfig
    training_data: Path

    def __call__(self) -> DistillationTask:
        """Build the task, with the student as it is before the fit."""
        return self.build()[1]

    def build(self) -> tuple[TransformerTextEncoder, DistillationTask]:
        """Build the student and its task."""
        student = open_text_encoder(self.student)
        assert isinstance(student, TransformerTextEncoder)
        with np.load(self.training_data) as arrays:
            return student, DistillationTask(student, arrays["texts"].tolist(), arrays["vectors"])


def run(config: CompressTextConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Prune the teacher, distil into it, publish."""
    teacher_config = resolve_lake_model(config.teacher, ("text_tower",), lake)
    teacher = open_text_encoder(teacher_config)
    if not isinstance(teacher, TransformerTextEncoder):
        raise ConfigError(
            f"teacher is {config.teacher.model!r}, which has no layers to remove; set it to a transformer"
        )
    texts = with_spans(_texts_of(lake, config.text_fields), config.fit.seed)
    vectors_ND, num_known = frozen_vectors(texts, teacher, lake)
    with resumable_run_dir(JOB, config, lake) as run_dir, staging_dir(lake.root / JOB.name) as staging:
        np.savez(staging / "training_data.npz", texts=np.array(texts), vectors=vectors_ND)
        save_text_tower(_prune(teacher, config, texts), staging / "student")
        task_factory = DistillationTaskFactory(
            student=replace(teacher_config, model=str(staging / "student")), training_data=staging / "training_data.npz"
        )
        student, task = task_factory.build()
        before = task.measure()["cosine_to_teacher"]

        def on_step(done: int, total: int, left_s: float) -> None:
            progress(f"{left_s:.0f} s to go,", done, total)

        logs = lake.root / "logs" / JOB.name
        fitted = train_on_workers(
            task_factory, config.fit, config.workers, run_dir, on_step=on_step, logs=logs, resume_as="student"
        )
        load_trained(task.module, fitted.state)
        after = task.measure()["cosine_to_teacher"]
        compressed = encoder_with(student, student.tower.transformer)
        notes: dict[str, object] = {"encoder": to_jsonable(teacher_config), "space_id": compressed.space_id}
        with lake.publish("small_text_tower", notes) as folder:
            save_text_tower(compressed, folder)
    return {
        "texts": len(texts),
        "texts_from_cache": num_known,
        "steps": fitted.num_steps,
        "resumed": fitted.num_resumed,
        "parameters": _num_parameters(compressed),
        "parameters_of_teacher": _num_parameters(teacher),
        "cosine_to_teacher_before": round(before, 4),
        "cosine_to_teacher": round(after, 4),
    }


def _prune(teacher: TransformerTextEncoder, config: CompressTextConfig, texts: Sequence[str]) -> TransformerTextEncoder:
    student = keep_layers(teacher, config.kept_layers) if config.kept_layers else teacher
    probes = texts[: config.num_probes]
    if config.cut_heads:
        student, _ = prune_heads(student, config.cut_heads, probes)
    return prune_units(student, config.kept_units, probes) if config.kept_units else student


def _texts_of(lake: Lake, fields: Sequence[TextField]) -> list[str]:
    texts = []
    for batch in PRODUCTS.batches(lake.current("products"), COLUMNS_WITHOUT_IMAGE_BYTES):
        texts += [product_text(row_to_product(row)[0], fields) for row in batch.to_pylist()]
    return [text for text in texts if text]


def _num_parameters(encoder: TransformerTextEncoder) -> int:
    return sum(parameter.numel() for parameter in encoder.tower.parameters())


JOB = Job(
    name="compress_text",
    summary="products -> a smaller text encoder, distilled from a larger one",
    config=CompressTextConfig,
    reads=("products",),
    extra_inputs=lambda lake, config: lake_model_digest(config.teacher, lake),
    writes=("small_text_tower",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
