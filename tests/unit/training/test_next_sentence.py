"""Next-sentence prediction: inputs, targets, and that a tower learns which texts belong together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import transformers

from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.encoders.transformer import text_encoder_of
from intarsia.encoders.untrained import byte_tokenizer
from intarsia.errors import ConfigError
from intarsia.training.loop import FitConfig, fit_in_process
from intarsia.training.masked_language_model import (
    IGNORE_INDEX,
    MaskedLanguageModelConfig,
    MaskedLanguageModelTask,
    build_input,
)
from intarsia.training.text_folder import mask_id_of

THINGS = ("bag", "mug", "lamp", "dress", "shoe", "hat", "ring", "sofa")
PAIRS = [(f"{thing} {n}", f"a {thing} for all") for thing in THINGS for n in range(4)]
START, END = 2, 3  # of the untrained towers' tokenizer
WITH_PAIRS = MaskedLanguageModelConfig(held_out=8, next_sentence=True)


def tower(max_tokens: int = 32) -> TorchTextEncoder:
    encoder = open_text_encoder(TextEncoderConfig(model="untrained:bert:3", max_tokens=max_tokens))
    assert isinstance(encoder, TorchTextEncoder)
    return encoder


def task_of(
    encoder: TorchTextEncoder, config: MaskedLanguageModelConfig = WITH_PAIRS, **arguments: object
) -> MaskedLanguageModelTask:
    pairs = arguments.pop("pairs", PAIRS)
    return MaskedLanguageModelTask(
        encoder, arguments.pop("texts", []), mask_id_of(encoder), config, pairs=pairs, seed=1
    )  # type: ignore[arg-type]


def test_half_of_the_pairs_have_their_own_second_text() -> None:
    first, own, others = (START, 10, 11, END), (START, 20, END), [(START, 30, END), (START, 40, 41, END)]
    inputs = [build_input(first, own, [own, *others], 24, np.random.default_rng(n)) for n in range(600)]
    counts = Counter((one.ids, one.follows) for one in inputs)
    assert counts.keys() == {
        ((START, 10, 11, END, 20, END), 1),
        ((START, 10, 11, END, 30, END), 0),
        ((START, 10, 11, END, 40, 41, END), 0),
    }
    assert [counts[key] / 600 for key in sorted(counts, key=lambda key: key[0])] == pytest.approx(
        [0.5, 0.25, 0.25], abs=0.06
    )
    assert {one.second_start for one in inputs} == {4}
    assert inputs[0].words.tolist() == [1, 2, 4] if len(inputs[0].ids) == 6 else [1, 2, 4, 5]


def test_a_title_and_its_pairs_are_held_out_together() -> None:
    titles = [f"{first} {second}" for first in THINGS for second in THINGS[:3]][:23]
    task = task_of(tower(), texts=titles, pairs=[(title, f"made for {title}") for title in titles])
    inputs = task.inputs(np.arange(task.num_examples), 0)
    ids = torch.where(inputs["targets"] == IGNORE_INDEX, inputs["ids"], inputs["targets"])
    firsts = ids * (inputs["mask"] > 0) * (inputs["segments"] == 0)
    seen = Counter(tuple(token for token in row if token not in (0, START, END)) for row in firsts.tolist())
    assert set(seen.values()) == {2} and 0 < len(seen) < 23


def test_a_single_second_text_is_never_replaced() -> None:
    rng = np.random.default_rng(7)
    single = build_input((START, 10, END), None, [], 24, rng)
    assert (single.ids, single.second_start, single.follows, single.words.tolist()) == (
        (START, 10, END),
        3,
        IGNORE_INDEX,
        [1],
    )
    assert rng.random() == np.random.default_rng(7).random()
    own = (START, 20, END)
    assert all(build_input((START, 10, END), own, [own], 24, rng).follows == 1 for _ in range(20))


@pytest.mark.parametrize(
    ("most", "ids"),
    [
        (9, (START, 10, 11, 12, 13, END, 20, 21, END)),
        (7, (START, 10, 11, END, 20, 21, END)),
        (6, (START, 10, 11, END, 20, END)),
        (5, (START, 10, END, 20, END)),
    ],
)
def test_the_longer_text_of_a_long_pair_is_cut_first(most: int, ids: tuple[int, ...]) -> None:
    inputs = build_input((START, 10, 11, 12, 13, END), (START, 20, 21, END), [], most, np.random.default_rng(0))
    assert (inputs.ids, inputs.follows) == (ids, 1)
    assert inputs.ids[inputs.second_start] == 20


def test_segments_mark_second_texts_and_special_tokens_are_not_masked() -> None:
    encoder = tower()
    task = task_of(encoder, MaskedLanguageModelConfig(held_out=0, next_sentence=True, share=0.9), texts=["only this"])
    assert task.num_examples == 1 + len(PAIRS)
    inputs = task.inputs(np.arange(task.num_examples), 0)
    assert inputs["follows"][0] == IGNORE_INDEX and not inputs["segments"][0].any()
    assert 0 < int((inputs["follows"] == 1).sum()) < len(PAIRS)
    assert not torch.isin(inputs["targets"], torch.tensor([START, END])).any()
    before = torch.where(inputs["targets"] == IGNORE_INDEX, inputs["ids"], inputs["targets"])
    titles = {tuple(ids) for ids in encoder.tokenizer.ids([title for title, _ in PAIRS])}
    descriptions = {tuple(ids) for ids in encoder.tokenizer.ids([description for _, description in PAIRS])}
    for row in range(1, task.num_examples):
        is_second = inputs["segments"][row] == 1
        assert tuple(before[row][~is_second & (inputs["mask"][row] == 1)].tolist()) in titles
        assert (START, *before[row][is_second].tolist()) in descriptions
    assert task.inputs(np.array([5]), 0)["follows"][0] == inputs["follows"][5]


def test_the_loss_is_the_mean_of_the_words_plus_the_mean_of_the_pairs() -> None:
    outputs = {
        "losses": torch.tensor([6.0, 2.0, 0.0]),
        "counts": torch.tensor([3, 1, 0]),
        "pair_losses": torch.tensor([0.5, 0.0, 0.1]),
        "pair_counts": torch.tensor([1.0, 0.0, 1.0]),
    }
    assert task_of(tower()).loss(outputs, np.arange(3)).item() == pytest.approx(8.0 / 4 + 0.6 / 2)


@pytest.mark.slow
def test_a_tower_learns_which_description_belongs_to_a_title() -> None:
    encoder = tower()
    torch.manual_seed(1)
    task = task_of(encoder)
    embeddings = encoder.tower.get_submodule("transformer.embeddings.token_type_embeddings")
    segments = embeddings.weight  # type: ignore[union-attr]
    before = segments.detach().clone()  # type: ignore[operator]
    fitted = fit_in_process(task, FitConfig(epochs=40, batch_size=16, learning_rate=3e-3))
    assert fitted.figures["paired"] >= 0.85  # 8 held-out pairs with titles that were not in the training data
    assert not torch.equal(segments[1].detach(), before[1])  # type: ignore[index]


def test_without_next_sentence_there_are_no_pairs_and_no_pair_head() -> None:
    task = task_of(tower(), MaskedLanguageModelConfig(held_out=2), texts=["red bag", "blue mug", "a hat", "a ring"])
    assert task.num_examples == 2
    assert task.inputs(np.arange(2), 0).keys() == {"ids", "mask", "targets"}
    assert not any("pair" in name for name, _ in task.module.named_parameters())
    with torch.no_grad():
        assert task.measure().keys() == {"minus_loss", "guessed"}


def test_next_sentence_without_its_requirements_is_refused() -> None:
    shape = transformers.BertConfig(
        vocab_size=261, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, type_vocab_size=1
    )
    one_segment = text_encoder_of(
        TextEncoderConfig(model="one_segment", max_tokens=24), transformers.BertModel(shape), byte_tokenizer(), 0
    )
    with pytest.raises(ConfigError, match="segment embeddings, but 'one_segment' has none; set next_sentence to false"):
        task_of(one_segment)
    with pytest.raises(ConfigError, match="max_tokens is 4; allowed with next_sentence: 5 or more"):
        task_of(tower(4))
    for pairs, counts in (([], 0), ([("bag", "one and the same"), ("mug", "one and the same")], 1)):
        with pytest.raises(
            ConfigError, match=rf"with different titles and descriptions; found {counts}; set next_sentence to false"
        ):
            task_of(
                tower(),
                MaskedLanguageModelConfig(held_out=0, next_sentence=True),
                texts=["red bag", "a mug"],
                pairs=pairs,
            )
