"""The input of the workers of `finetune_text`: settings and one file of examples, from which each worker builds the
same task.

Letters: Q queries, K positions, J judged texts of the query that has most, N texts, D width.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ConfigError
from intarsia.evaluation.metrics import ndcg_at_k
from intarsia.evaluation.qrels import GradedOrders
from intarsia.ids import fold_of
from intarsia.lake import write_json
from intarsia.training.adapters import AdapterConfig, Adapters, set_dropout
from intarsia.training.loop import FitConfig
from intarsia.training.masked_language_model import MaskedLanguageModelConfig, MaskedLanguageModelTask
from intarsia.training.schedule import BatchSchedule
from intarsia.training.text_augmentation import AugmentConfig, TextAugmenter
from intarsia.training.text_examples import TextExample
from intarsia.training.text_folder import mask_id_of
from intarsia.training.text_pairs import EncodeTexts, TextPairsConfig, TextPairsTask

NDCG_AT = 10
WATCHED_METRIC = f"ndcg@{NDCG_AT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTrainingData:
    """Training examples, held-out examples, and the words for augmentation."""

    examples: Sequence[TextExample]
    held_out: Sequence[TextExample] = ()
    vocabulary: Sequence[str] = ()
    brands: Sequence[str] = ()
    paraphrase: Mapping[str, str] | None = None

    def write(self, path: Path) -> None:
        """Write one JSON file."""
        write_json(path, asdict(self))

    def without_fold(self, fold: int, num_folds: int) -> TextTrainingData:
        """Remove the judged queries of a fold.

        The held-out examples are removed too, so that the fits of all folds end after the same steps.
        """
        remaining = [
            example for example in self.examples if not example.query_id or fold_of(example.query_id, num_folds) != fold
        ]
        return replace(self, examples=remaining, held_out=())

    @classmethod
    def read(cls, path: Path) -> TextTrainingData:
        """Read a file of `write`."""
        content = json.loads(path.read_text(encoding="utf-8"))
        for name in ("examples", "held_out"):
            content[name] = [_to_example(example) for example in content[name]]
        return cls(**content)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTaskFactory:
    """Builds the task of one fit; small, so that it can be sent to workers."""

    tower: TextEncoderConfig
    pairs: TextPairsConfig
    adapter: AdapterConfig
    augment: AugmentConfig
    fit: FitConfig
    training_data: Path

    def __call__(self) -> TextPairsTask:
        """Build the task, with its tower as it is before the fit."""
        _, task, _ = self.build()
        return task

    def build(self) -> tuple[TorchTextEncoder, TextPairsTask, Adapters]:
        """Build the encoder whose tower is trained, its task, and the adapters of the tower."""
        training_data = TextTrainingData.read(self.training_data)
        encoder = open_trainable(self.tower)
        schedule = BatchSchedule(
            num_examples=len(training_data.examples),
            epochs=self.fit.epochs,
            batch_size=self.fit.batch_size,
            accumulate=self.fit.accumulate,
            seed=self.fit.seed,
        )
        if self.pairs.dropout is not None:
            set_dropout(encoder.tower, self.pairs.dropout)  # before the adapters, which have their own dropout
        with _seeded(self.fit.seed):
            adapters = Adapters(encoder.tower, self.adapter, schedule.num_steps if training_data.examples else 0)
        augment = TextAugmenter(
            self.augment, training_data.vocabulary, training_data.brands, dict(training_data.paraphrase or {})
        )
        task = TextPairsTask(
            encoder,
            training_data.examples,
            self.pairs,
            adapters=adapters,
            augment=None if augment.is_off else augment,
            figures=HeldOutNdcg(training_data.held_out) if training_data.held_out else None,
            seed=self.fit.seed,
        )
        return encoder, task, adapters


def write_texts(path: Path, texts: Sequence[str], pairs: Sequence[tuple[str, str]] = ()) -> None:
    """Write the input of `MaskedLanguageModelTask` as JSON: texts of a catalog, and text pairs for next-sentence
    prediction.
    """
    write_json(path, {"texts": list(texts), "pairs": list(pairs)})


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedLanguageModelTaskFactory:
    """Builds the masked-language-model task of a catalog; `texts` is a file of `write_texts`."""

    tower: TextEncoderConfig
    masked: MaskedLanguageModelConfig
    seed: int
    texts: Path

    def __call__(self) -> MaskedLanguageModelTask:
        """Build the task, with its tower as it is before the fit."""
        _, task = self.build()
        return task

    def build(self) -> tuple[TorchTextEncoder, MaskedLanguageModelTask]:
        """Build the encoder whose tower is trained, and its task."""
        encoder = open_trainable(self.tower)
        content = json.loads(self.texts.read_text(encoding="utf-8"))
        pairs = [(title, description) for title, description in content["pairs"]]
        with _seeded(self.seed):
            task = MaskedLanguageModelTask(
                encoder, content["texts"], mask_id_of(encoder), self.masked, pairs=pairs, seed=self.seed
            )
        return encoder, task


class HeldOutNdcg:
    """nDCG@10 of a tower's cosines over the judged texts of held-out queries, mean over queries with a positive."""

    def __init__(self, examples: Sequence[TextExample]) -> None:
        self._examples = [example for example in examples if max(example.grades) > 0]

    def __call__(self, encode: EncodeTexts) -> Mapping[str, float]:
        """Return `ndcg@10`; ties keep the order of the texts."""
        if not self._examples:
            return {}
        texts = sorted({text for example in self._examples for text in example.texts})
        row_of = {text: n for n, text in enumerate(texts)}
        vectors_ND, anchors_QD = encode(texts), encode([example.anchor for example in self._examples])
        longest = max(len(example.grades) for example in self._examples)
        grades_QK = np.zeros((len(self._examples), max(longest, NDCG_AT)))
        judged_QJ = np.zeros_like(grades_QK)
        for q, example in enumerate(self._examples):
            grades_J = np.array(example.grades)
            order = np.argsort(-(vectors_ND[[row_of[text] for text in example.texts]] @ anchors_QD[q]), kind="stable")
            grades_QK[q, : len(order)] = grades_J[order]
            judged_QJ[q, : len(order)] = np.sort(grades_J)[::-1]
        return {
            WATCHED_METRIC: float(np.mean(ndcg_at_k(GradedOrders(grades_QK=grades_QK, judged_QJ=judged_QJ), NDCG_AT)))
        }


def open_trainable(config: TextEncoderConfig) -> TorchTextEncoder:
    """Open a text encoder that torch runs.

    Raises:
        ConfigError: the encoder cannot be trained.
    """
    encoder = open_text_encoder(config)
    if not isinstance(encoder, TorchTextEncoder):
        raise ConfigError(
            f"{config.model} cannot be trained, because torch does not run it; set finetune_text.tower.model to "
            "another model"
        )
    return encoder


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Context in which torch draws the same on every worker, so that new layers start equal everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _to_example(values: Mapping[str, Any]) -> TextExample:
    frozen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return TextExample(**frozen)
