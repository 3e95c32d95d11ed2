"""One trial of a fine-tuning search, and the table of trials; onray/test_finetune_text tests the search itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from intarsia.encoders.config import TextEncoderConfig
from intarsia.errors import ConfigError
from intarsia.lake import Lake
from intarsia.onray.tuning import Trial
from intarsia.training.adapters import AdapterConfig, AdapterKind
from intarsia.training.loop import FitConfig, fit_in_process
from intarsia.training.text_augmentation import AugmentConfig
from intarsia.training.text_pairs import TextPairsConfig
from intarsia.training.text_training_data import TextTaskFactory, TextTrainingData
from intarsia.training.text_training_sources import judged_split, read_catalog
from tests.judged_shop import fill_with_judged_shop
from tune_spaces.finetuning_search import (
    applicable_space,
    best_trial,
    measure_finetuning_point,
    task_of_point,
    trial_table,
)
from tune_spaces.finetuning_space import FinetuningSpaceConfig, point_of

TRIALS = [
    Trial(number=0, point={"learning_rate": 2e-5}, figures={"ndcg@10": 0.5, "epochs": 4.0}, error=None),
    Trial(number=1, point={"learning_rate": 9.0}, figures=None, error="ConfigError: the loss is nan"),
    Trial(number=2, point={"learning_rate": 1e-4}, figures={"ndcg@10": 0.75, "epochs": 4.0}, error=None),
    Trial(number=3, point={"learning_rate": 1e-3}, figures={"ndcg@10": 0.8, "epochs": 1.0}, error=None, stopped=True),
]


@pytest.fixture
def task(lake: Lake, tmp_path: Path) -> TextTaskFactory:
    """A small fit to the judged train queries of a shop."""
    catalog = read_catalog(fill_with_judged_shop(lake), ("title",))
    training_data = TextTrainingData(
        examples=judged_split(lake, catalog, "train"), held_out=judged_split(lake, catalog, "validation")
    )
    training_data.write(tmp_path / "training_data.json")
    return TextTaskFactory(
        tower=TextEncoderConfig(model="untrained:bert:3", max_tokens=24),
        pairs=TextPairsConfig(texts_per_anchor=6),
        adapter=AdapterConfig(),
        augment=AugmentConfig(),
        fit=FitConfig(epochs=3, batch_size=4, learning_rate=3e-3),
        training_data=tmp_path / "training_data.json",
    )


@pytest.mark.parametrize("kind", ["upper", "lora"])
def test_with_frozen_word_embeddings_every_point_can_be_fitted(task: TextTaskFactory, kind: AdapterKind) -> None:
    task = replace(task, adapter=AdapterConfig(kind=kind, num_layers=1), fit=replace(task.fit, epochs=1))
    space_config = FinetuningSpaceConfig()
    assert applicable_space(space_config, replace(task, adapter=AdapterConfig())) == space_config
    space = applicable_space(space_config, task)
    for epsilon in space.fgm_epsilons:
        point = point_of(task.fit, task.pairs) | {"fgm_epsilon": epsilon}
        assert len(list(measure_finetuning_point(point, task))) == 1
    refused = point_of(task.fit, task.pairs) | {"fgm_epsilon": 0.5}
    with pytest.raises(ConfigError, match="fgm_epsilon shifts word embeddings, but this fit keeps them frozen"):
        list(measure_finetuning_point(refused, task))


@pytest.mark.parametrize(("watch", "kind"), [("", "all"), ("ndcg@10", "all"), ("", "adalora")])
def test_a_trial_reports_the_figures_of_an_uninterrupted_fit(
    task: TextTaskFactory, watch: str, kind: AdapterKind
) -> None:
    point = point_of(task.fit, task.pairs) | {"learning_rate": 5e-3, "temperature": 0.1}
    task = replace(task, fit=replace(task.fit, watch=watch), adapter=AdapterConfig(kind=kind, rank=4))
    reports = list(measure_finetuning_point(point, task))
    uninterrupted = task_of_point(point, task)
    assert (uninterrupted.fit.learning_rate, uninterrupted.pairs.loss.temperature) == (5e-3, 0.1)
    curve = fit_in_process(uninterrupted(), uninterrupted.fit).curve
    measured = [point_of_curve.figures["ndcg@10"] for point_of_curve in curve if point_of_curve.figures]
    kept = [max(measured[: n + 1]) if watch else measured[n] for n in range(3)]
    assert reports == [{"ndcg@10": pytest.approx(kept[n]), "epochs": n + 1.0} for n in range(3)]


def test_a_fit_that_stops_early_ends_its_reports(task: TextTaskFactory) -> None:
    fit = replace(task.fit, epochs=9, learning_rate=1e-9, watch="ndcg@10", patience=1)
    reports = list(measure_finetuning_point(point_of(fit, task.pairs), replace(task, fit=fit)))
    assert [report["epochs"] for report in reports] == [1.0, 2.0]


def test_a_stopped_trial_is_not_the_best_whatever_its_figures() -> None:
    assert best_trial(TRIALS).number == 2
    assert best_trial([TRIALS[1], TRIALS[3]]).number == 3, "if no other trial has figures"


def test_the_table_has_a_line_per_trial() -> None:
    assert trial_table(TRIALS) == [
        "trial  ndcg@10  epochs  settings",
        "0      0.5000   4       learning_rate 2e-05",
        "1      failed: ConfigError: the loss is nan; learning_rate 9",
        "2      0.7500   4       learning_rate 0.0001 <- kept",
        "3      0.8000   1       learning_rate 0.001 (stopped)",
    ]
