"""What `finetune_text` gives its workers: settings, and one file of examples, from which each makes the same learner for itself.

Letters: Q queries, J judged texts of the query that has most, D width.
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
from intarsia.training.text_augmentation import Augment, AugmentConfig
from intarsia.training.text_examples import TextExample
from intarsia.training.text_folder import mask_id_of
from intarsia.training.text_pairs import EncodeTexts, TextPairsConfig, TextPairsTask

NDCG_AT = 10
WATCHED = f"ndcg@{NDCG_AT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTrainingData:
    """What is learned from: examples, those held out, and the words that augmentation draws from."""

    examples: Sequence[TextExample]
    held_out: Sequence[TextExample] = ()
    vocabulary: Sequence[str] = ()
    brands: Sequence[str] = ()
    paraphrase: Mapping[str, str] | None = None

    def write(self, path: Path) -> None:
        """As one JSON file."""
        write_json(path, asdict(self))

    def without_fold(self, fold: int, num_folds: int) -> TextTrainingData:
        """Without the judged queries of a fold; measured on nothing, so that each fold's fit ends after the same steps."""
        kept = [one for one in self.examples if not one.query_id or fold_of(one.query_id, num_folds) != fold]
        return replace(self, examples=kept, held_out=())

    @classmethod
    def read(cls, path: Path) -> TextTrainingData:
        """From such a file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        for name in ("examples", "held_out"):
            content[name] = [_example(one) for one in content[name]]
        return cls(**content)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTaskFactory:
    """Makes the learner of one fit; small, so that it can be sent to workers."""

    tower: TextEncoderConfig
    pairs: TextPairsConfig
    adapter: AdapterConfig
    augment: AugmentConfig
    fit: FitConfig
    training_data: Path

    def __call__(self) -> TextPairsTask:
        """The learner, its tower fresh from where it starts."""
        _, task, _ = self.build()
        return task

    def build(self) -> tuple[TorchTextEncoder, TextPairsTask, Adapters]:
        """The encoder whose tower learns, its learner, and the adapters on it."""
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
            set_dropout(encoder.tower, self.pairs.dropout)  # before the adapters, whose dropout is their own
        with _seeded(self.fit.seed):
            adapters = Adapters(encoder.tower, self.adapter, schedule.num_steps if training_data.examples else 0)
        augment = Augment(
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
    """What `MaskedWordsTask` reads: texts of a catalog, and pairs of them where next sentences are asked for, as one JSON file."""
    write_json(path, {"texts": list(texts), "pairs": list(pairs)})


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedLanguageModelTaskFactory:
    """Makes the learner that guesses hidden words of a catalog's texts; `texts` is a file of `write_texts`."""

    tower: TextEncoderConfig
    masked: MaskedLanguageModelConfig
    seed: int
    texts: Path

    def __call__(self) -> MaskedLanguageModelTask:
        """The learner, its tower fresh from where it starts."""
        _, task = self.build()
        return task

    def build(self) -> tuple[TorchTextEncoder, MaskedLanguageModelTask]:
        """The encoder whose tower learns, and its learner."""
        encoder = open_trainable(self.tower)
        read = json.loads(self.texts.read_text(encoding="utf-8"))
        pairs = [(title, description) for title, description in read["pairs"]]
        with _seeded(self.seed):
            task = MaskedLanguageModelTask(
                encoder, read["texts"], mask_id_of(encoder), self.masked, pairs=pairs, seed=self.seed
            )
        return encoder, task


class HeldOutNdcg:
    """nDCG@10 of a tower's cosines over the judged texts of held-out queries, the mean over those that have a positive."""

    def __init__(self, examples: Sequence[TextExample]) -> None:
        self._examples = [one for one in examples if max(one.grades) > 0]

    def __call__(self, encode: EncodeTexts) -> Mapping[str, float]:
        """`ndcg@10`; ties go to the text that stands first."""
        if not self._examples:
            return {}
        texts = sorted({text for one in self._examples for text in one.texts})
        place = {text: n for n, text in enumerate(texts)}
        vectors_ND, anchors_QD = encode(texts), encode([one.anchor for one in self._examples])
        longest = max(len(one.grades) for one in self._examples)
        grades_QK = np.zeros((len(self._examples), max(longest, NDCG_AT)))
        judged_QJ = np.zeros_like(grades_QK)
        for q, one in enumerate(self._examples):
            grades_J = np.array(one.grades)
            order = np.argsort(-(vectors_ND[[place[text] for text in one.texts]] @ anchors_QD[q]), kind="stable")
            grades_QK[q, : len(order)] = grades_J[order]
            judged_QJ[q, : len(order)] = np.sort(grades_J)[::-1]
        return {WATCHED: float(np.mean(ndcg_at_k(GradedOrders(grades_QK=grades_QK, judged_QJ=judged_QJ), NDCG_AT)))}


def open_trainable(config: TextEncoderConfig) -> TorchTextEncoder:
    """The text encoder, if torch runs it.

    Raises:
        ConfigError: nothing of it can be trained.
    """
    encoder = open_text_encoder(config)
    if not isinstance(encoder, TorchTextEncoder):
        raise ConfigError(
            f"{config.model} cannot be trained: torch does not run it; set finetune_text.tower.model to another"
        )
    return encoder


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """While open, torch draws the same on every worker: new layers start alike everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _example(values: Mapping[str, Any]) -> TextExample:
    frozen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return TextExample(**frozen)
