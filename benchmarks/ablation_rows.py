"""The rows of `benchmarks.ablation`: fine-tuning as configured, and with one part removed, added or replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from intarsia.training.adapters import AdapterKind
from intarsia.training.losses import LossConfig
from intarsia.training.text_augmentation import AugmentConfig
from intarsia.training.text_examples import ExampleSource
from intarsia.training.text_training_sources import SourceName
from pipelines.finetune_text import FinetuneTextConfig

FROZEN_ROW, DEFAULT_ROW, WHOLE_TOWER_ROW = "frozen", "default", "whole tower"
WeakSource = Literal["fields", "clicks", "pseudo"]
_NEGATIVES, _R_DROP, _SMOOTHING, _DECAY, _DROPOUT, _FGM = 4, 1.0, 0.1, 0.01, 0.3, 0.5
_REPLACED, _DELETED, _NAMES_DROPPED = 0.1, 0.1, 0.3
_LORA_RATE = 10.0  # adapters start at 0 and are few, so they need a higher rate than full weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row: its settings, the row it is compared with, and a source that it needs examples of."""

    name: str
    config: FinetuneTextConfig
    against: str = DEFAULT_ROW
    needs: ExampleSource | None = None


def changes_of(base: FinetuneTextConfig) -> list[Change]:
    """The default settings first, then each change."""
    return [
        Change(name=DEFAULT_ROW, config=base, against=FROZEN_ROW),
        *_loss_changes(base),
        *_fit_changes(base),
        *_adapter_changes(base),
        *_augment_changes(base),
        _switched(
            "masked-language-model pre-training",
            base.masked_epochs,
            1,
            lambda value: replace(base, masked_epochs=int(value)),
        ),
        *_source_changes(base),
    ]


def select_changes(changes: Sequence[Change], words: Sequence[str]) -> list[Change]:
    """The changes whose name contains one of the words, and the rows they are compared with."""
    names = {change.name for change in changes if any(word in change.name for word in words)}
    names |= {change.against for change in changes if change.name in names} | {DEFAULT_ROW}
    return [change for change in changes if change.name in names]


def _loss_changes(base: FinetuneTextConfig) -> Iterator[Change]:
    loss = base.pairs.loss

    def with_loss(changed: LossConfig) -> FinetuneTextConfig:
        return replace(base, pairs=replace(base.pairs, loss=changed))

    if loss.ranking and loss.in_batch:
        yield Change(name="without InfoNCE", config=with_loss(replace(loss, in_batch=0.0)))
        yield Change(name="without ranking loss", config=with_loss(replace(loss, ranking=0.0)))
    if loss.in_batch:
        for name, is_on, changed in (
            ("logQ correction", loss.log_q, replace(loss, log_q=not loss.log_q)),
            (
                "false-negative mask",
                loss.mask_false_negatives,
                replace(loss, mask_false_negatives=not loss.mask_false_negatives),
            ),
        ):
            yield Change(name=f"without {name}" if is_on else name, config=with_loss(changed))
    name = "fixed temperature" if loss.learn_temperature else "learned temperature"
    yield Change(name=name, config=with_loss(replace(loss, learn_temperature=not loss.learn_temperature)))
    yield _switched("R-Drop", loss.r_drop, _R_DROP, lambda value: with_loss(replace(loss, r_drop=value)))
    yield _switched(
        "label smoothing",
        loss.label_smoothing,
        _SMOOTHING,
        lambda value: with_loss(replace(loss, label_smoothing=value)),
    )


def _fit_changes(base: FinetuneTextConfig) -> Iterator[Change]:
    decay = base.fit.weight_decay
    yield _switched(
        "weight decay", decay, _DECAY, lambda value: replace(base, fit=replace(base.fit, weight_decay=value))
    )
    for name, dropout in (("without dropout", 0.0), (f"dropout {_DROPOUT}", _DROPOUT)):
        yield Change(name=name, config=replace(base, pairs=replace(base.pairs, dropout=dropout)))


def _augment_changes(base: FinetuneTextConfig) -> Iterator[Change]:
    """Back-translation has no row, because it needs models of the user."""
    now = base.augment

    def with_augment(changed: AugmentConfig) -> FinetuneTextConfig:
        return replace(base, augment=changed)

    yield _switched(
        "words replaced", now.replace_words, _REPLACED, lambda value: with_augment(replace(now, replace_words=value))
    )
    yield _switched(
        "words deleted", now.delete_words, _DELETED, lambda value: with_augment(replace(now, delete_words=value))
    )
    yield _switched(
        "colour and brand dropped",
        now.drop_named,
        _NAMES_DROPPED,
        lambda value: with_augment(replace(now, drop_named=value)),
    )


def _adapter_changes(base: FinetuneTextConfig) -> Iterator[Change]:
    """FGM shifts word embeddings, so it needs a tower with all weights trained, and is compared with such a tower."""
    names: Mapping[AdapterKind, str] = {
        "all": WHOLE_TOWER_ROW,
        "upper": "upper layers",
        "lora": "LoRA, 10 times the rate",
        "adalora": "AdaLoRA, 10 times the rate",
    }
    for kind, name in names.items():
        if kind != base.adapter.kind:
            rate = base.fit.learning_rate * (_LORA_RATE if kind in ("lora", "adalora") else 1.0)
            fit = replace(base.fit, learning_rate=rate, fgm_epsilon=0.0)
            yield Change(name=name, config=replace(base, adapter=replace(base.adapter, kind=kind), fit=fit))
    is_whole = base.adapter.kind == "all"
    whole = replace(base, adapter=replace(base.adapter, kind="all"))
    switched = _switched(
        "FGM", whole.fit.fgm_epsilon, _FGM, lambda value: replace(whole, fit=replace(whole.fit, fgm_epsilon=value))
    )
    yield (
        switched if is_whole else replace(switched, name=f"{WHOLE_TOWER_ROW}, {switched.name}", against=WHOLE_TOWER_ROW)
    )


def _source_changes(base: FinetuneTextConfig) -> Iterator[Change]:
    def with_use(*use: SourceName) -> FinetuneTextConfig:
        return replace(base, sources=replace(base.sources, use=use))

    def with_negatives(**counts: int) -> FinetuneTextConfig:
        return replace(base, sources=replace(base.sources, negatives=replace(base.sources.negatives, **counts)))

    mined = base.sources.negatives
    yield _switched("hard negatives by BM25", mined.bm25, _NEGATIVES, lambda count: with_negatives(bm25=int(count)))
    yield _switched(
        "hard negatives by the tower", mined.model, _NEGATIVES, lambda count: with_negatives(model=int(count))
    )
    weak: Mapping[WeakSource, str] = {"fields": "a product's own fields", "clicks": "clicks", "pseudo": "pseudo-labels"}
    standalone: tuple[WeakSource, ...] = ("fields", "clicks")
    for source, name in weak.items():
        if source in base.sources.use:
            if others := tuple(name_of_source for name_of_source in base.sources.use if name_of_source != source):
                yield Change(name=f"without {name}", config=with_use(*others))
        else:
            yield Change(name=f"and {name}", config=with_use(*base.sources.use, source), needs=source)
    for source in standalone:
        yield Change(name=f"{weak[source]}, no judgment", config=with_use(source), against=FROZEN_ROW, needs=source)


def _switched(name: str, now: float, on: float, with_value: Callable[[float], FinetuneTextConfig]) -> Change:
    if now:
        return Change(name=f"without {name}", config=with_value(0.0))
    return Change(name=f"{name} {on:g}", config=with_value(on))
