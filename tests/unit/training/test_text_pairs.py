"""Fine-tuning of small text towers on graded lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ConfigError
from intarsia.training.adapters import AdapterConfig, AdapterKind, Adapters
from intarsia.training.loop import FitConfig, fit_in_process
from intarsia.training.losses import LossConfig
from intarsia.training.task import TrainingTask
from intarsia.training.text_augmentation import AugmentConfig, TextAugmenter
from intarsia.training.text_examples import TextExample, draw_evenly
from intarsia.training.text_pairs import TextPairsConfig, TextPairsTask

COLOURS, THINGS = ("red", "blue", "green"), ("bag", "mug", "lamp", "dress")


def tower(kind: str = "bert") -> TorchTextEncoder:
    encoder = open_text_encoder(TextEncoderConfig(model=f"untrained:{kind}:3", max_tokens=24))
    assert isinstance(encoder, TorchTextEncoder)
    return encoder


def shop() -> list[TextExample]:
    """For the query red bag, red bags have grade 3, other bags 1, and red mugs 0."""
    titles = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    return [
        TextExample(
            anchor=f"a {query} please",
            texts=tuple(titles),
            grades=tuple(
                3.0 if title == query else 1.0 if title.split()[1] == query.split()[1] else 0.0 for title in titles
            ),
            groups=("",) * len(titles),
            query_id=query,
        )
        for query in titles
    ]


def task_of(encoder: TorchTextEncoder, loss: LossConfig | None = None, **arguments: object) -> TextPairsTask:
    config = TextPairsConfig(texts_per_anchor=6, loss=loss or LossConfig())
    return TextPairsTask(encoder, shop(), config, **arguments)  # type: ignore[arg-type]


def share_of_right_first(encoder: TorchTextEncoder) -> float:
    examples = shop()
    titles_ND = encoder.encode(examples[0].texts)
    first = (encoder.encode([one.anchor for one in examples]) @ titles_ND.T).argmax(axis=1)
    return float(np.mean([one.grades[n] == 3.0 for one, n in zip(examples, first, strict=True)]))


@pytest.mark.parametrize("kind", ["bert", "gpt2", "bilstm"])
def test_a_tower_learns_the_title_of_each_query(kind: str) -> None:
    encoder = tower(kind)
    before = share_of_right_first(encoder)
    fitted = fit_in_process(task_of(encoder), FitConfig(epochs=12, batch_size=6, learning_rate=3e-3))
    assert fitted.curve[-1].loss < 0.7 * fitted.curve[0].loss
    assert share_of_right_first(encoder) > max(0.5, before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "adalora", "upper"])
def test_adapters_learn_with_fewer_parameters_and_leave_a_plain_tower(kind: AdapterKind) -> None:
    encoder = tower()
    names = [name for name, _ in encoder.tower.named_parameters()]
    torch.manual_seed(5)  # peft draws the adapters from the global generator
    adapters = Adapters(encoder.tower, AdapterConfig(kind=kind, num_layers=1, rank=4), 2 * 40)
    task = task_of(encoder, adapters=adapters)
    trained = sum(p.numel() for p in task.module.parameters() if p.requires_grad)
    assert trained < 0.6 * sum(p.numel() for p in encoder.tower.parameters())
    before = share_of_right_first(encoder)
    fit_in_process(task, FitConfig(epochs=40, batch_size=6, learning_rate=1e-2))
    with_adapters_ND = encoder.encode(["red bag", "a blue mug please"])
    adapters.merge()
    assert [name for name, _ in encoder.tower.named_parameters()] == names
    np.testing.assert_allclose(encoder.encode(["red bag", "a blue mug please"]), with_adapters_ND, atol=1e-5)
    assert share_of_right_first(encoder) > before


@pytest.mark.parametrize(("kind", "stopped_after"), [("lora", 9), ("adalora", 9), ("adalora", 16)])
def test_adapters_resume_from_a_checkpoint_exactly(kind: AdapterKind, stopped_after: int, tmp_path: Path) -> None:
    """AdaLoRA's ranks begin to fall after step 4 of 20 and are final after step 14."""
    config = FitConfig(epochs=10, batch_size=6, learning_rate=1e-2, checkpoint_every=1)

    def fresh() -> TextPairsTask:
        encoder = tower()
        torch.manual_seed(5)
        return task_of(encoder, adapters=Adapters(encoder.tower, AdapterConfig(kind=kind, rank=4), 20))

    def stop(done: int, total: int, left_s: float) -> None:
        if done == stopped_after:
            raise InterruptedError

    undisturbed = fit_in_process(fresh(), config)
    with pytest.raises(InterruptedError):
        fit_in_process(fresh(), config, checkpoints=tmp_path, on_step=stop)
    resumed = fit_in_process(fresh(), config, checkpoints=tmp_path)
    assert (resumed.num_resumed, resumed.num_steps) == (1, 20)
    assert resumed.curve == undisturbed.curve
    assert resumed.state.keys() == undisturbed.state.keys()
    for name, tensor in undisturbed.state.items():
        assert torch.equal(resumed.state[name], tensor), name
    if kind == "adalora":
        ranks = [int(tensor.count_nonzero()) for name, tensor in resumed.state.items() if "lora_E" in name]
        assert (
            sum(ranks) == 4 * len(ranks) and len(set(ranks)) > 1
        )  # the mean rank is the configured one, and ranks differ


def test_r_drop_penalises_differing_passes() -> None:
    encoder = tower()
    task = task_of(encoder, LossConfig(r_drop=1.0))
    task.module.train()
    rows_b = np.arange(4)
    outputs = task.module(**task.inputs(rows_b, 0))
    assert not torch.equal(outputs["anchors"], outputs["anchors_again"])
    apart = task.loss(outputs, rows_b)
    agreed = dict(outputs) | {"anchors_again": outputs["anchors"], "texts_again": outputs["texts"]}
    once = {name: tensor for name, tensor in outputs.items() if not name.endswith("_again")}
    assert task.loss(agreed, rows_b).item() == pytest.approx(task.loss(once, rows_b).item(), rel=1e-5)
    asks_more = task_of(encoder, LossConfig(r_drop=5.0)).loss(outputs, rows_b)
    asks_even_more = task_of(encoder, LossConfig(r_drop=9.0)).loss(outputs, rows_b)
    assert asks_more.item() > apart.item()
    assert asks_even_more.item() - asks_more.item() == pytest.approx(asks_more.item() - apart.item(), rel=1e-3)
    assert "anchors_again" not in task.module.eval()(**task.inputs(rows_b, 0))


def test_a_learned_temperature_moves_and_a_fixed_one_stays() -> None:
    for learns in (True, False):
        task = task_of(tower(), LossConfig(learn_temperature=learns, in_batch=1.0))
        before = task.module.log_temperature.item()  # type: ignore[union-attr,operator]
        fit_in_process(task, FitConfig(epochs=2, batch_size=6, learning_rate=1e-2))
        assert (task.module.log_temperature.item() != before) == learns  # type: ignore[union-attr,operator]


def test_inputs_depend_on_seed_step_and_row_alone() -> None:
    task = task_of(tower(), augment=TextAugmenter(AugmentConfig(replace_words=0.5), ["hat", "shoe"]))
    together, apart = task.inputs(np.array([2, 5]), 7), task.inputs(np.array([5]), 7)
    assert torch.equal(together["keys"][1], apart["keys"][0])
    assert torch.equal(
        together["text_ids"][1, :, : apart["text_ids"].shape[2]].sum(dim=1), apart["text_ids"][0].sum(dim=1)
    )
    assert not torch.equal(task.inputs(np.array([5]), 8)["keys"], apart["keys"])


def test_one_text_in_two_lists_is_no_negative_and_unmasked_it_is() -> None:
    examples = [TextExample(anchor=a, texts=("red bag",), grades=(3.0,), groups=("",)) for a in ("bag", "red thing")]
    losses = {}
    for mask in (True, False):
        config = TextPairsConfig(
            texts_per_anchor=1, loss=LossConfig(ranking=0.0, in_batch=1.0, mask_false_negatives=mask)
        )
        task = TextPairsTask(tower(), examples, config)
        losses[mask] = task.loss(task.module.eval()(**task.inputs(np.arange(2), 0)), np.arange(2)).item()
    assert losses[True] == 0.0 < losses[False]


def test_texts_are_drawn_evenly_over_grades_and_each_once() -> None:
    grades = [0.0] * 50 + [3.0] * 2 + [1.0] * 3
    drawn = draw_evenly(grades, 7, np.random.default_rng(1))
    assert len(set(drawn)) == 7
    assert sorted(grades[n] for n in drawn) == [0.0, 0.0, 1.0, 1.0, 1.0, 3.0, 3.0] or sorted(
        grades[n] for n in drawn
    ) == [0.0, 0.0, 0.0, 1.0, 1.0, 3.0, 3.0]
    assert sorted(draw_evenly([1.0, 2.0], 9, np.random.default_rng(1))) == [0, 1]


def test_metrics_are_those_of_the_given_function() -> None:
    encoder = tower()
    assert dict(task_of(encoder).measure()) == {}
    measured = task_of(encoder, figures=lambda encode: {"width": float(encode(["red"]).shape[1])})
    assert dict(measured.measure()) == {"width": float(encoder.dim)}


def test_text_pairs_task_is_a_training_task() -> None:
    task: TrainingTask = task_of(tower())
    assert task.num_examples == 12


@pytest.mark.parametrize(
    ("kind", "adapter", "message"),
    [
        ("bilstm", AdapterConfig(kind="lora"), "adapter kind lora needs a transformer"),
        ("bert", AdapterConfig(kind="upper", num_layers=9), "num_layers is 9, but BertModel has 2"),
    ],
)
def test_towers_without_what_an_adapter_needs_are_refused(kind: str, adapter: AdapterConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Adapters(tower(kind).tower, adapter, 1)


def test_unknown_attention_and_no_stack_of_layers_are_refused() -> None:
    holder = torch.nn.Module()
    holder.transformer = torch.nn.Linear(2, 2)
    for kind, message in (
        ("lora", "Linear has no attention layers with one of the names"),
        ("upper", "Linear has no stack of layers"),
    ):
        with pytest.raises(ConfigError, match=message):
            Adapters(holder, AdapterConfig(kind=kind), 1)  # type: ignore[arg-type]


def test_an_adapter_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is 0\.0"):
        AdapterConfig(alpha=0.0)
