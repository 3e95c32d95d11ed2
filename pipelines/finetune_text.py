"""products (+ queries, judgments, events) -> `text_tower`: a text encoder fine-tuned on this shop, as a folder for
`embed_products`.

Training examples come from judged train queries, catalog fields, clicks and pseudo-labels. Validation queries decide
early stopping; test queries are never read. A ranker or fusion that is fitted on the same train queries must not use
the cosines of a tower trained on them: they are higher than for new queries. With `folds` there are further towers, in
`folds/<number>`, each trained without the train queries of its fold (`fold_of` the query id).
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
from intarsia.encoders.lake_models import (
    TOWER_CURVE,
    TOWER_FOLDS,
    TOWER_SETTINGS,
    lake_model_digest,
    resolve_lake_model,
)
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
from intarsia.training.text_training_sources import CatalogTexts, SourcesConfig, read_catalog, read_text_training_data
from pipelines.job import Counts, Job, JobProgress, main, resumable_run_dir
from tune_spaces.finetuning_search import FinetuningSearchPlan, best_trial, search_finetuning, trial_table
from tune_spaces.finetuning_space import FinetuningSpaceConfig, fit_of_point, pairs_of_point


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneTextConfig:
    """The tower before the fit, its training data, and the fit."""

    tower: TextEncoderConfig = setting(
        "the text encoder to fine-tune, and how it reads texts", factory=TextEncoderConfig
    )
    text_fields: tuple[TextField, ...] = setting(
        "product fields that make a product's text; use the setting of embed_products", ("title",)
    )
    sources: SourcesConfig = setting("training examples", factory=SourcesConfig)
    pairs: TextPairsConfig = setting("texts per example, and losses", factory=TextPairsConfig, advanced=True)
    augment: AugmentConfig = setting("text augmentation", factory=AugmentConfig, advanced=True)
    adapter: AdapterConfig = setting("which weights are trained", factory=AdapterConfig)
    fit: FitConfig = setting(
        "the fit; batch_size counts anchors, each with its texts. The metric ndcg@10 of the validation queries can be "
        "watched; the fits of the folds watch nothing",
        factory=functools.partial(FitConfig, batch_size=8, epochs=4, checkpoint_every=20),
    )
    masked: MaskedLanguageModelConfig = setting(
        "masked-language-model pre-training", factory=MaskedLanguageModelConfig, advanced=True
    )
    masked_epochs: int = setting(
        "epochs of masked-language-model pre-training on the catalog before the fit; 0: none", 0
    )
    masked_batch_size: int = setting("texts per step of the pre-training", 32, advanced=True)
    folds: int = setting(
        "folds of the train queries, with one more tower trained without each fold, for a ranker or fusion that is "
        "fitted later; 0: none",
        0,
    )
    served: Literal["all", "soup", "greedy_soup", "searched_soup"] = setting(
        "the serving tower, if there are folds: all (one more fit on all train queries), soup (mean of the weights of "
        "the folds, no extra fit), greedy_soup (mean of those that improve validation), searched_soup (weighted mean "
        "that is best on validation)",
        "all",
    )
    workers: TorchWorkersConfig = setting("Ray Train workers", factory=TorchWorkersConfig)
    space: FinetuningSpaceConfig = setting("search space of the trials", factory=FinetuningSpaceConfig, advanced=True)
    trials: int = setting(
        "number of settings that Ray Tune tries, by ndcg@10 of the validation queries; the first are those of `fit`, "
        "and the best ones are used for all towers. 0: no search",
        0,
    )
    num_at_once: int = setting("trials in parallel; changes which settings are tried", 2, advanced=True)
    resources: TrialsConfig = setting(
        "resources of a trial, and early stopping of bad trials; a trial reports after each epoch",
        factory=TrialsConfig,
        advanced=True,
    )

    @property
    def learns_from_clicks(self) -> bool:
        """Whether new events make the tower out of date."""
        return "clicks" in self.sources.use

    def __post_init__(self) -> None:
        if not self.text_fields:
            raise ValueError("text_fields is empty; allowed: at least one field")
        check_range(self, "masked_epochs", "folds", "trials", low=0)
        check_range(self, "masked_batch_size", "num_at_once", low=1)
        if self.folds == 1:
            raise ValueError("folds is 1, so its tower would have no training data; allowed: 0, or 2 and more")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """State shared by all fits of a run. A run that was stopped finds the files in `run_dir` again."""

    config: FinetuneTextConfig
    start: TextEncoderConfig
    staging: Path
    run_dir: Path
    lake: Lake
    progress: JobProgress

    def fit(self, name: str, training_data: TextTrainingData) -> tuple[TorchTextEncoder, FitResult]:
        """Fit a tower on the training data, and merge its adapters."""
        config = self.config
        if not training_data.examples:
            raise ConfigError(f"{name} has no training examples; lower folds, or judge more train queries")
        fit = config.fit if training_data.held_out else replace(config.fit, watch="", patience=0)
        task_factory = self.task_factory(name, training_data, fit)
        fitted = self.train(name, task_factory, fit)
        encoder, task, adapters = task_factory.build()
        load_trained(task.module, fitted.state)
        adapters.merge()
        return encoder, fitted

    def task_factory(self, name: str, training_data: TextTrainingData, fit: FitConfig) -> TextTaskFactory:
        """The task factory of a fit; writes the training data to a file for it."""
        config, path = self.config, self.staging / f"{_file_name(name)}.json"
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
        """Run the trials, or read those of a run that was stopped after its search."""
        config, trials_file = self.config, self.run_dir / "trials.json"
        if not trials_file.exists():
            tuning = FinetuningSearchPlan(
                space=config.space,
                num_trials=config.trials,
                num_at_once=config.num_at_once,
                resources=config.resources,
            )
            task_factory = self.task_factory("trials", training_data, config.fit)
            on_trial = functools.partial(self.progress, "trials")
            write_json(
                trials_file,
                to_jsonable(
                    search_finetuning(tuning, task_factory, folder=self.run_dir, on_trial=on_trial, identity="search")
                ),
            )
        return [Trial(**trial) for trial in json.loads(trials_file.read_text(encoding="utf-8"))]

    def train(self, name: str, task_factory: MakeTask, fit: FitConfig) -> FitResult:
        """Fit on the workers; the curve goes to TensorBoard."""

        def on_step(done: int, total: int, left_s: float) -> None:
            self.progress(f"{name}, {left_s:.0f} s to go,", done, total)

        logs = self.lake.root / "logs" / "finetune_text" / name
        return train_on_workers(
            task_factory, fit, self.config.workers, self.run_dir, on_step=on_step, logs=logs, resume_as=_file_name(name)
        )


def run(config: FinetuneTextConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Pre-train and search settings if requested, fit the towers of the folds and the serving tower, publish."""
    original_config = config
    config = replace(config, tower=resolve_lake_model(config.tower, ("small_text_tower",), lake))
    catalog = read_catalog(lake, config.text_fields)
    fits: dict[str, FitResult] = {}
    notes: dict[str, object] = {}
    trials: list[Trial] = []
    with resumable_run_dir(JOB, original_config, lake) as run_dir, staging_dir(lake.root / JOB.name) as staging:
        job_run = _Run(
            config=config, start=config.tower, staging=staging, run_dir=run_dir, lake=lake, progress=progress
        )
        if config.masked_epochs:
            job_run, fits["masked_words"] = _pretrain(job_run, catalog)
        open_tower = functools.partial(open_text_encoder, job_run.start)
        training_data = read_text_training_data(
            config.sources, config.augment, lake, catalog, open_tower, config.fit.seed
        )
        _check_validation(config, training_data)
        if config.trials:
            trials = job_run.search(training_data)
            print("\n".join(trial_table(trials)))
            job_run = replace(job_run, config=_with_settings(config, best_trial(trials).point))
        with lake.publish("text_tower", notes) as folder:
            for fold in range(config.folds):
                encoder, fits[f"{TOWER_FOLDS}/{fold}"] = job_run.fit(
                    f"{TOWER_FOLDS}/{fold}", training_data.without_fold(fold, config.folds)
                )
                save_text_tower(encoder, folder / TOWER_FOLDS / str(fold))
            if config.folds and config.served != "all":
                towers = [_open(config.tower, folder / TOWER_FOLDS / str(fold)) for fold in range(config.folds)]
                encoder = text_tower_soup(
                    config.served, open_trainable(job_run.start), towers, HeldOutNdcg(training_data.held_out)
                )
            else:
                encoder, fits["tower"] = job_run.fit("tower", training_data)
            save_text_tower(encoder, folder)
            metrics = HeldOutNdcg(training_data.held_out)(encoder.encode)
            before = HeldOutNdcg(training_data.held_out)(open_text_encoder(job_run.start).encode)
            _describe(config, fits, {"before": before, "after": metrics}, folder, trials)
            # opened again, because the fitted encoder has the id from before the fit
            notes["space_id"] = _open(config.tower, folder).space_id
            notes |= {
                "encoder": to_jsonable(config.tower),
                "folds": config.folds,
                "text_fields": list(config.text_fields),
            }
    by_source = Counter(example.source for example in training_data.examples)
    return {
        **{f"{source}_examples": count for source, count in sorted(by_source.items())},
        **({"trials": len(trials), "kept_trial": best_trial(trials).number} if trials else {}),
        "steps": sum(fitted.num_steps for fitted in fits.values()),
        "resumed": sum(fitted.num_resumed for fitted in fits.values()),
        "folds": config.folds,
        **{f"validation_{name}_before": value for name, value in before.items()},
        **{f"validation_{name}": value for name, value in metrics.items()},
    }


def _check_validation(config: FinetuneTextConfig, training_data: TextTrainingData) -> None:
    if any(max(example.grades) > 0 for example in training_data.held_out):
        return
    for is_chosen, setting_value, fix in (
        (config.trials, f"trials is {config.trials}", "set trials to 0"),
        (config.folds and config.served in VALIDATION_RECIPES, f"served is {config.served}", "set served to soup"),
    ):
        if is_chosen:
            raise ConfigError(f"{setting_value}, which needs judged validation queries; judge some, or {fix}")


def _with_settings(config: FinetuneTextConfig, point: Point) -> FinetuneTextConfig:
    return replace(config, fit=fit_of_point(point, config.fit), pairs=pairs_of_point(point, config.pairs))


def _file_name(name: str) -> str:
    return name.replace("/", "_")


def _pretrain(job_run: _Run, catalog: CatalogTexts) -> tuple[_Run, FitResult]:
    config = job_run.config
    path = job_run.staging / "texts.json"
    write_texts(path, catalog.texts, catalog.pairs if config.masked.next_sentence else ())
    fit = replace(config.fit, epochs=config.masked_epochs, watch="", patience=0, batch_size=config.masked_batch_size)
    task_factory = MaskedLanguageModelTaskFactory(tower=job_run.start, masked=config.masked, seed=fit.seed, texts=path)
    fitted = job_run.train("masked_words", task_factory, fit)
    encoder, task = task_factory.build()
    load_trained(task.module, fitted.state)
    folder = job_run.staging / "pretrained"
    save_text_tower(encoder, folder)
    return replace(job_run, start=replace(job_run.start, model=str(folder))), fitted


def _open(config: TextEncoderConfig, folder: Path) -> TorchTextEncoder:
    return open_trainable(replace(config, model=str(folder)))


def _describe(
    config: FinetuneTextConfig,
    fits: Mapping[str, FitResult],
    validation: Mapping[str, Mapping[str, float]],
    folder: Path,
    trials: Sequence[Trial] = (),
) -> None:
    write_json(folder / TOWER_CURVE, {name: to_jsonable(fitted.curve) for name, fitted in fits.items()})
    summary: dict[str, object] = {
        "config": to_jsonable(config),
        "fits": {name: {"steps": fitted.num_steps, "kept_step": fitted.kept_step} for name, fitted in fits.items()},
        "validation": validation,
    }
    if trials:
        summary["search"] = {"trials": to_jsonable(trials), "kept": best_trial(trials).number}
    write_json(folder / TOWER_SETTINGS, summary)


JOB = Job(
    name="finetune_text",
    summary="products, judged train queries -> a text encoder fine-tuned on them",
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
