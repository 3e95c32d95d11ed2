"""products (+ queries, judgments, events) -> `text_tower`: a text encoder that learned from this shop, as a folder for `embed_products`.

It learns from the judgments of train queries, from the catalog's own fields, from clicks, or from what it is sure of itself; validation
queries stop it; test queries are never read. A ranker or a fusion that is fitted on the same train queries must not read cosines of a
tower that learned from them: they look better than any cosine will in the shop. With `folds` there are further towers, in
`folds/<number>`, each of which saw none of the train queries of its fold (`fold_of` the query id).
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from intarsia.config import build, check_range, plain, setting
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.learning.adapters import AdapterConfig
from intarsia.encoders.learning.augment import AugmentConfig
from intarsia.encoders.learning.checkpoint import load_trained
from intarsia.encoders.learning.fit_config import FitConfig
from intarsia.encoders.learning.loop import Fitted
from intarsia.encoders.learning.masked_words import MaskedWordsConfig
from intarsia.encoders.learning.text_folder import arrays_of, put_arrays, save_text_tower
from intarsia.encoders.learning.text_pairs import TextPairsConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.product_text import TextField
from intarsia.encoders.torch_text import TorchTextEncoder
from intarsia.engine.text_lessons import (
    WATCHED,
    HeldOutOrders,
    Lessons,
    MaskedWordsTask,
    TextLessonsTask,
    open_trainable,
)
from intarsia.engine.text_sources import Catalog, SourcesConfig, read_catalog, read_lessons
from intarsia.errors import ConfigError
from intarsia.fusion.soup import Arrays, Ingredient, arrays_digest, greedy_soup, mix
from intarsia.ids import fold_of
from intarsia.lake import Lake, folder_aside, write_json
from intarsia.onray.torch_training import MakeLearner, TorchWorkersConfig, train_on_workers
from pipelines.job import Counts, Job, Progress, main

SETTINGS, CURVE, FOLDS = "training.json", "curve.json", "folds"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneTextConfig:
    """Where the tower starts, what it learns from, and how."""

    tower: TextEncoderConfig = setting(
        "where it starts, and how its texts are read from then on", factory=TextEncoderConfig
    )
    text_fields: tuple[TextField, ...] = setting(
        "what a product's text is made of; the same as embed_products' setting", ("title",)
    )
    sources: SourcesConfig = setting("what it learns from", factory=SourcesConfig)
    pairs: TextPairsConfig = setting("what is shown and asked", factory=TextPairsConfig)
    augment: AugmentConfig = setting("how texts are changed while it learns", factory=AugmentConfig)
    adapter: AdapterConfig = setting("what of it is trained", factory=AdapterConfig)
    fit: FitConfig = setting(
        "how it is fitted; batch_size counts anchors, each comes with its texts; ndcg@10 of the validation queries can be watched, folds "
        "watch nothing",
        factory=functools.partial(FitConfig, batch_size=8, epochs=4),
    )
    masked: MaskedWordsConfig = setting("how words are hidden from it before", factory=MaskedWordsConfig)
    masked_epochs: int = setting(
        "how often the catalog's texts are shown with hidden words before anything else; 0 never", 0
    )
    masked_batch_size: int = setting("texts of one step while words are hidden", 32)
    folds: int = setting(
        "parts of the train queries, each with a tower that did not see it, for what is fitted on them after it; 0 makes none",
        0,
    )
    served: Literal["all", "soup", "greedy_soup"] = setting(
        "the tower that serves: one more fit to all train queries; or of the folds' weights the mean (which costs nothing), or the mean of "
        "those that help on validation; does nothing without folds",
        "all",
    )
    workers: TorchWorkersConfig = setting("who fits", factory=TorchWorkersConfig)

    @property
    def learns_from_clicks(self) -> bool:
        """New events then make a new tower."""
        return "clicks" in self.sources.use

    def __post_init__(self) -> None:
        if not self.text_fields:
            raise ValueError("text_fields is empty; allowed: at least one field")
        check_range(self, "masked_epochs", "folds", low=0)
        check_range(self, "masked_batch_size", low=1)
        if self.folds == 1:
            raise ValueError("folds is 1: its tower would have seen nothing; allowed: 0, or 2 and more")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """What every fit of one run shares."""

    config: FinetuneTextConfig
    start: TextEncoderConfig
    aside: Path
    lake: Lake
    progress: Progress

    def fit(self, name: str, lessons: Lessons) -> tuple[TorchTextEncoder, Fitted]:
        """A tower that learned from the lessons, its adapters merged."""
        config = self.config
        if not lessons.examples:
            raise ConfigError(f"{name} has nothing to learn from; cut fewer folds, or judge more train queries")
        path = self.aside / f"{name.replace('/', '_')}.json"
        lessons.write(path)
        fit = config.fit if lessons.held_out else replace(config.fit, watch="", patience=0)
        task = TextLessonsTask(
            tower=self.start, pairs=config.pairs, adapter=config.adapter, augment=config.augment, fit=fit, lessons=path
        )
        fitted = self.train(name, task, fit)
        encoder, learner, adapters = task.learner()
        load_trained(learner.module, fitted.state)
        adapters.merge()
        return encoder, fitted

    def train(self, name: str, task: MakeLearner, fit: FitConfig) -> Fitted:
        """The fit on the workers, with its curve in TensorBoard."""

        def tell(done: int, total: int, left_s: float) -> None:
            self.progress(f"{name}, {left_s:.0f} s to go,", done, total)

        logs = self.lake.root / "logs" / "finetune_text" / name
        return train_on_workers(task, fit, self.config.workers, self.lake.root, on_step=tell, logs=logs)


def run(config: FinetuneTextConfig, lake: Lake, progress: Progress) -> Counts:
    """Guess hidden words if asked to, learn from the train queries without each fold and from all of them, publish."""
    catalog = read_catalog(lake, config.text_fields)
    fits: dict[str, Fitted] = {}
    notes: dict[str, object] = {}
    with folder_aside(lake.root / "finetune_text") as aside:
        shop = _Shop(config=config, start=config.tower, aside=aside, lake=lake, progress=progress)
        if config.masked_epochs:
            shop, fits["masked_words"] = _after_masked_words(shop, catalog)
        open_tower = functools.partial(open_text_encoder, shop.start)
        lessons = read_lessons(config.sources, config.augment, lake, catalog, open_tower, config.fit.seed)
        if config.folds and config.served == "greedy_soup" and not lessons.held_out:
            raise ConfigError(
                "served is greedy_soup, and no judged validation query says what helps; judge some, or set served to soup"
            )
        with lake.publish("text_tower", notes) as folder:
            for fold in range(config.folds):
                encoder, fits[f"{FOLDS}/{fold}"] = shop.fit(f"{FOLDS}/{fold}", _without(lessons, fold, config.folds))
                save_text_tower(encoder, folder / FOLDS / str(fold))
            if config.folds and config.served != "all":
                towers = [_opened(config.tower, folder / FOLDS / str(fold)) for fold in range(config.folds)]
                encoder = _soup(config.served, open_trainable(shop.start), towers, HeldOutOrders(lessons.held_out))
            else:
                encoder, fits["tower"] = shop.fit("tower", lessons)
            save_text_tower(encoder, folder)
            figures = HeldOutOrders(lessons.held_out)(encoder.encode)
            before = HeldOutOrders(lessons.held_out)(open_text_encoder(shop.start).encode)
            _describe(config, fits, figures, before, folder)
            notes["space_id"] = _opened(
                config.tower, folder
            ).space_id  # the fitted one still bears the name it began with
            notes |= {"encoder": plain(config.tower), "folds": config.folds, "text_fields": list(config.text_fields)}
    by_source = Counter(one.source for one in lessons.examples)
    return {
        **{f"{source}_examples": count for source, count in sorted(by_source.items())},
        "steps": sum(fitted.num_steps for fitted in fits.values()),
        "folds": config.folds,
        **{f"validation_{name}_before": value for name, value in before.items()},
        **{f"validation_{name}": value for name, value in figures.items()},
    }


def tower_of(lake: Lake, fold: int | None = None) -> TextEncoderConfig:
    """The encoder settings of the lake's tower: of the one that serves, or of the one that did not see a fold of the train queries.

    Raises:
        ArtifactError: no tower was published.
        ConfigError: it has no such fold.
    """
    entry = lake.current("text_tower")
    num_folds = int(entry.notes["folds"])
    if fold is not None and fold not in range(num_folds):
        raise ConfigError(
            f"the tower of {lake.root} has {num_folds} folds, fold {fold} was asked for; set finetune_text.folds"
        )
    folder = entry.path if fold is None else entry.path / FOLDS / str(fold)
    config = build(TextEncoderConfig, entry.notes["encoder"], where="text_tower.encoder")
    return replace(config, model=str(folder))


def _after_masked_words(shop: _Shop, catalog: Catalog) -> tuple[_Shop, Fitted]:
    config = shop.config
    path = shop.aside / "texts.json"
    write_json(path, {"texts": list(catalog.texts), "pairs": catalog.pairs if config.masked.next_sentence else []})
    fit = replace(config.fit, epochs=config.masked_epochs, watch="", patience=0, batch_size=config.masked_batch_size)
    task = MaskedWordsTask(tower=shop.start, masked=config.masked, seed=fit.seed, texts=path)
    fitted = shop.train("masked_words", task, fit)
    encoder, learner = task.learner()
    load_trained(learner.module, fitted.state)
    folder = shop.aside / "knows_the_words"
    save_text_tower(encoder, folder)
    return replace(shop, start=replace(shop.start, model=str(folder))), fitted


def _without(lessons: Lessons, fold: int, num_folds: int) -> Lessons:
    """Without the judged queries of a fold; measured on nothing, so that each fold's fit ends after the same steps."""
    kept = [one for one in lessons.examples if not one.query_id or fold_of(one.query_id, num_folds) != fold]
    return replace(lessons, examples=kept, held_out=())


def _soup(
    recipe: Literal["soup", "greedy_soup"],
    start: TorchTextEncoder,
    towers: Sequence[TorchTextEncoder],
    orders: HeldOutOrders,
) -> TorchTextEncoder:
    """The first tower with the mixed weights of all, or of those that help."""
    base = arrays_digest(arrays_of(start))
    ingredients = [
        Ingredient(name=f"{FOLDS}/{fold}", arrays=arrays_of(tower), base_digest=base)
        for fold, tower in enumerate(towers)
    ]
    tasted = towers[0]

    def worth(arrays: Arrays) -> float:
        put_arrays(tasted, arrays)
        return orders(tasted.encode)[WATCHED]

    if recipe == "soup":
        put_arrays(tasted, mix(ingredients, [1.0 / len(ingredients)] * len(ingredients)))
    else:
        put_arrays(tasted, greedy_soup(ingredients, worth).arrays)
    return tasted


def _opened(config: TextEncoderConfig, folder: Path) -> TorchTextEncoder:
    return open_trainable(replace(config, model=str(folder)))


def _describe(
    config: FinetuneTextConfig,
    fits: Mapping[str, Fitted],
    figures: Mapping[str, float],
    before: Mapping[str, float],
    folder: Path,
) -> None:
    curves = {
        name: [
            {"step": p.step, "loss": p.loss, "learning_rate": p.learning_rate, "figures": dict(p.figures)}
            for p in fitted.curve
        ]
        for name, fitted in fits.items()
    }
    write_json(folder / CURVE, curves)
    kept = {name: {"steps": fitted.num_steps, "kept_step": fitted.kept_step} for name, fitted in fits.items()}
    write_json(
        folder / SETTINGS, {"config": plain(config), "fits": kept, "validation": {"before": before, "after": figures}}
    )


JOB = Job(
    name="finetune_text",
    about="clean products, judged train queries -> a text encoder that learned from them",
    config=FinetuneTextConfig,
    reads=("products",),
    reads_if_there=("queries", "judgments"),
    files=lambda config: (
        [config.sources.clicks.served] if config.learns_from_clicks and config.sources.clicks.served else []
    ),
    more_inputs=lambda lake, config: (
        {"events": lake.current("events").digest} if config.learns_from_clicks and lake.has("events") else {}
    ),
    writes=("text_tower",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
