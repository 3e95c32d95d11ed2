"""products (+ queries, judgments, events) -> `text_tower`: a text encoder that learned from this shop, as a folder for `embed_products`.

It learns from the judgments of train queries, from the catalog's own fields, from clicks, or from what it is sure of itself; validation
queries stop it; test queries are never read. A ranker or a fusion that is fitted on the same train queries must not read cosines of a
tower that learned from them: they look better than any cosine will in the shop. With `folds` there are further towers, in
`folds/<number>`, each of which saw none of the train queries of its fold (`fold_of` the query id).
"""

from __future__ import annotations

import functools
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from intarsia.config import check_range, setting, to_jsonable
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.inputs import TextField
from intarsia.encoders.lake_models import FOLDS, lake_model_digest, resolve_lake_model
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ConfigError
from intarsia.lake import Lake, staging_dir, write_json
from intarsia.onray.torch_training import MakeTask, TorchWorkersConfig, train_on_workers
from intarsia.onray.tuning import Point, Trial, TrialsConfig
from intarsia.training.adapters import AdapterConfig
from intarsia.training.checkpoint import load_trained
from intarsia.training.loop import FitConfig, FitResult
from intarsia.training.masked_language_model import MaskedLanguageModelConfig
from intarsia.training.model_soup import VALIDATION_RECIPES, text_tower_soup
from intarsia.training.text_augmentation import AugmentConfig
from intarsia.training.text_folder import save_text_tower
from intarsia.training.text_pairs import TextPairsConfig
from intarsia.training.text_training_data import (
    HeldOutNdcg,
    MaskedLanguageModelTaskFactory,
    TextTaskFactory,
    TextTrainingData,
    open_trainable,
    write_texts,
)
from intarsia.training.text_training_sources import CatalogTexts, SourcesConfig, read_catalog, read_training_data
from pipelines.job import Counts, Job, JobProgress, main, resumable_run_dir
from tune_spaces.finetuning_search import FinetuningSearchPlan, best_trial, search_finetuning, trial_table
from tune_spaces.finetuning_space import FinetuningSpaceConfig, fit_of_point, pairs_of_point

SETTINGS, CURVE = "training.json", "curve.json"


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
        factory=functools.partial(FitConfig, batch_size=8, epochs=4, checkpoint_every=20),
    )
    masked: MaskedLanguageModelConfig = setting(
        "how words are hidden from it before", factory=MaskedLanguageModelConfig
    )
    masked_epochs: int = setting(
        "how often the catalog's texts are shown with hidden words before anything else; 0 never", 0
    )
    masked_batch_size: int = setting("texts of one step while words are hidden", 32)
    folds: int = setting(
        "parts of the train queries, each with a tower that did not see it, for what is fitted on them after it; 0 makes none",
        0,
    )
    served: Literal["all", "soup", "greedy_soup", "searched_soup"] = setting(
        "the tower that serves: one more fit to all train queries; or of the folds' weights the mean (which costs nothing), the mean of "
        "those that help on validation, or the weighted mean that is best there; does nothing without folds",
        "all",
    )
    workers: TorchWorkersConfig = setting("who fits", factory=TorchWorkersConfig)
    space: FinetuningSpaceConfig = setting(
        "which settings are tried beside those of `fit`", factory=FinetuningSpaceConfig
    )
    trials: int = setting(
        "points of the space that Ray Tune measures by ndcg@10 of the validation queries, the settings of `fit` first; every tower is then "
        "fitted with the best one's. 0 tries none",
        0,
    )
    num_at_once: int = setting("trials beside each other; changes which points are tried", 2)
    resources: TrialsConfig = setting(
        "what a trial may use, and when hopeless ones are stopped; it reports after each epoch", factory=TrialsConfig
    )

    @property
    def learns_from_clicks(self) -> bool:
        """New events then make a new tower."""
        return "clicks" in self.sources.use

    def __post_init__(self) -> None:
        if not self.text_fields:
            raise ValueError("text_fields is empty; allowed: at least one field")
        check_range(self, "masked_epochs", "folds", "trials", low=0)
        check_range(self, "masked_batch_size", "num_at_once", low=1)
        if self.folds == 1:
            raise ValueError("folds is 1: its tower would have seen nothing; allowed: 0, or 2 and more")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """What every fit of one run shares; what lies in `kept` a stopped run finds again."""

    config: FinetuneTextConfig
    start: TextEncoderConfig
    aside: Path
    kept: Path
    lake: Lake
    progress: JobProgress

    def fit(self, name: str, training_data: TextTrainingData) -> tuple[TorchTextEncoder, FitResult]:
        """A tower that learned from the lessons, its adapters merged."""
        config = self.config
        if not training_data.examples:
            raise ConfigError(f"{name} has nothing to learn from; cut fewer folds, or judge more train queries")
        fit = config.fit if training_data.held_out else replace(config.fit, watch="", patience=0)
        task_factory = self.task_factory(name, training_data, fit)
        fitted = self.train(name, task_factory, fit)
        encoder, task, adapters = task_factory.build()
        load_trained(task.module, fitted.state)
        adapters.merge()
        return encoder, fitted

    def task_factory(self, name: str, training_data: TextTrainingData, fit: FitConfig) -> TextTaskFactory:
        """A fit to the lessons, which are written down for whoever makes its learner."""
        config, path = self.config, self.aside / f"{_plain_name(name)}.json"
        training_data.write(path)
        return TextTaskFactory(
            tower=self.start,
            pairs=config.pairs,
            adapter=config.adapter,
            augment=config.augment,
            fit=fit,
            training_data=path,
        )

    def search(self, training_data: TextTrainingData) -> list[Trial]:
        """The points of the space and their figures; of a run that was stopped after its search, those it had found."""
        config, found = self.config, self.kept / "trials.json"
        if not found.exists():
            tuning = FinetuningSearchPlan(
                space=config.space,
                num_trials=config.trials,
                num_at_once=config.num_at_once,
                resources=config.resources,
            )
            task_factory = self.task_factory("trials", training_data, config.fit)
            tell = functools.partial(self.progress, "trials")
            write_json(
                found,
                to_jsonable(
                    search_finetuning(tuning, task_factory, folder=self.kept, on_trial=tell, identity="search")
                ),
            )
        return [Trial(**one) for one in json.loads(found.read_text(encoding="utf-8"))]

    def train(self, name: str, task_factory: MakeTask, fit: FitConfig) -> FitResult:
        """The fit on the workers, with its curve in TensorBoard."""

        def tell(done: int, total: int, left_s: float) -> None:
            self.progress(f"{name}, {left_s:.0f} s to go,", done, total)

        logs = self.lake.root / "logs" / "finetune_text" / name
        return train_on_workers(
            task_factory, fit, self.config.workers, self.kept, on_step=tell, logs=logs, resume_as=_plain_name(name)
        )


def run(config: FinetuneTextConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Guess hidden words if asked to, search settings if asked to, learn without each fold and from all train queries, publish."""
    asked, config = config, replace(config, tower=resolve_lake_model(config.tower, ("small_text_tower",), lake))
    catalog = read_catalog(lake, config.text_fields)
    fits: dict[str, FitResult] = {}
    notes: dict[str, object] = {}
    tried: list[Trial] = []
    with resumable_run_dir(JOB, asked, lake) as kept, staging_dir(lake.root / JOB.name) as aside:
        shop = _Shop(config=config, start=config.tower, aside=aside, kept=kept, lake=lake, progress=progress)
        if config.masked_epochs:
            shop, fits["masked_words"] = _after_masked_words(shop, catalog)
        open_tower = functools.partial(open_text_encoder, shop.start)
        training_data = read_training_data(config.sources, config.augment, lake, catalog, open_tower, config.fit.seed)
        _refuse_blind_choices(config, training_data)
        if config.trials:
            tried = shop.search(training_data)
            print("\n".join(trial_table(tried)))
            shop = replace(shop, config=_with_settings(config, best_trial(tried).point))
        with lake.publish("text_tower", notes) as folder:
            for fold in range(config.folds):
                encoder, fits[f"{FOLDS}/{fold}"] = shop.fit(
                    f"{FOLDS}/{fold}", training_data.without_fold(fold, config.folds)
                )
                save_text_tower(encoder, folder / FOLDS / str(fold))
            if config.folds and config.served != "all":
                towers = [_opened(config.tower, folder / FOLDS / str(fold)) for fold in range(config.folds)]
                encoder = text_tower_soup(
                    config.served, open_trainable(shop.start), towers, HeldOutNdcg(training_data.held_out)
                )
            else:
                encoder, fits["tower"] = shop.fit("tower", training_data)
            save_text_tower(encoder, folder)
            figures = HeldOutNdcg(training_data.held_out)(encoder.encode)
            before = HeldOutNdcg(training_data.held_out)(open_text_encoder(shop.start).encode)
            _describe(config, fits, {"before": before, "after": figures}, folder, tried)
            notes["space_id"] = _opened(
                config.tower, folder
            ).space_id  # the fitted one still bears the name it began with
            notes |= {
                "encoder": to_jsonable(config.tower),
                "folds": config.folds,
                "text_fields": list(config.text_fields),
            }
    by_source = Counter(one.source for one in training_data.examples)
    return {
        **{f"{source}_examples": count for source, count in sorted(by_source.items())},
        **({"trials": len(tried), "kept_trial": best_trial(tried).number} if tried else {}),
        "steps": sum(fitted.num_steps for fitted in fits.values()),
        "resumed": sum(fitted.num_resumed for fitted in fits.values()),
        "folds": config.folds,
        **{f"validation_{name}_before": value for name, value in before.items()},
        **{f"validation_{name}": value for name, value in figures.items()},
    }


def _refuse_blind_choices(config: FinetuneTextConfig, training_data: TextTrainingData) -> None:
    if any(max(one.grades) > 0 for one in training_data.held_out):
        return
    for is_chosen, found, fix in (
        (config.trials, f"trials is {config.trials}", "set trials to 0"),
        (config.folds and config.served in VALIDATION_RECIPES, f"served is {config.served}", "set served to soup"),
    ):
        if is_chosen:
            raise ConfigError(f"{found}, and no judged validation query says what helps; judge some, or {fix}")


def _with_settings(config: FinetuneTextConfig, point: Point) -> FinetuneTextConfig:
    return replace(config, fit=fit_of_point(point, config.fit), pairs=pairs_of_point(point, config.pairs))


def _plain_name(name: str) -> str:
    return name.replace("/", "_")


def _after_masked_words(shop: _Shop, catalog: CatalogTexts) -> tuple[_Shop, FitResult]:
    config = shop.config
    path = shop.aside / "texts.json"
    write_texts(path, catalog.texts, catalog.pairs if config.masked.next_sentence else ())
    fit = replace(config.fit, epochs=config.masked_epochs, watch="", patience=0, batch_size=config.masked_batch_size)
    task_factory = MaskedLanguageModelTaskFactory(tower=shop.start, masked=config.masked, seed=fit.seed, texts=path)
    fitted = shop.train("masked_words", task_factory, fit)
    encoder, task = task_factory.build()
    load_trained(task.module, fitted.state)
    folder = shop.aside / "knows_the_words"
    save_text_tower(encoder, folder)
    return replace(shop, start=replace(shop.start, model=str(folder))), fitted


def _opened(config: TextEncoderConfig, folder: Path) -> TorchTextEncoder:
    return open_trainable(replace(config, model=str(folder)))


def _describe(
    config: FinetuneTextConfig,
    fits: Mapping[str, FitResult],
    validation: Mapping[str, Mapping[str, float]],
    folder: Path,
    tried: Sequence[Trial] = (),
) -> None:
    write_json(folder / CURVE, {name: to_jsonable(fitted.curve) for name, fitted in fits.items()})
    told: dict[str, object] = {
        "config": to_jsonable(config),
        "fits": {name: {"steps": fitted.num_steps, "kept_step": fitted.kept_step} for name, fitted in fits.items()},
        "validation": validation,
    }
    if tried:
        told["search"] = {"trials": to_jsonable(tried), "kept": best_trial(tried).number}
    write_json(folder / SETTINGS, told)


JOB = Job(
    name="finetune_text",
    summary="clean products, judged train queries -> a text encoder that learned from them",
    config=FinetuneTextConfig,
    reads=("products",),
    optional_reads=("queries", "judgments"),
    files=lambda config: (
        [config.sources.clicks.served] if config.learns_from_clicks and config.sources.clicks.served else []
    ),
    extra_inputs=lambda lake, config: (
        ({"events": lake.current("events").digest} if config.learns_from_clicks and lake.has("events") else {})
        | lake_model_digest(config.tower, lake)
    ),
    writes=("text_tower",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
