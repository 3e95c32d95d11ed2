"""Two texts as one input: what is shown, what is asked, and that a tower learns which second text belongs to the first."""

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
ASKED = MaskedLanguageModelConfig(held_out=8, next_sentence=True)


def tower(max_tokens: int = 32) -> TorchTextEncoder:
    encoder = open_text_encoder(TextEncoderConfig(model="untrained:bert:3", max_tokens=max_tokens))
    assert isinstance(encoder, TorchTextEncoder)
    return encoder


def learner_of(
    encoder: TorchTextEncoder, config: MaskedLanguageModelConfig = ASKED, **given: object
) -> MaskedLanguageModelTask:
    pairs = given.pop("pairs", PAIRS)
    return MaskedLanguageModelTask(encoder, given.pop("texts", []), mask_id_of(encoder), config, pairs=pairs, seed=1)  # type: ignore[arg-type]


def test_a_pair_is_shown_with_its_own_second_text_half_of_the_time_and_else_with_any_other() -> None:
    first, own, others = (START, 10, 11, END), (START, 20, END), [(START, 30, END), (START, 40, 41, END)]
    shown = [build_input(first, own, [own, *others], 24, np.random.default_rng(n)) for n in range(600)]
    found = Counter((one.ids, one.follows) for one in shown)
    assert found.keys() == {
        ((START, 10, 11, END, 20, END), 1),
        ((START, 10, 11, END, 30, END), 0),
        ((START, 10, 11, END, 40, 41, END), 0),
    }
    assert [found[key] / 600 for key in sorted(found, key=lambda key: key[0])] == pytest.approx(
        [0.5, 0.25, 0.25], abs=0.06
    )
    assert {one.second_start for one in shown} == {4}
    assert shown[0].words.tolist() == [1, 2, 4] if len(shown[0].ids) == 6 else [1, 2, 4, 5]


def test_a_title_and_its_pair_are_on_one_side_of_what_is_held_out() -> None:
    titles = [f"{first} {second}" for first in THINGS for second in THINGS[:3]][:23]
    task = learner_of(tower(), texts=titles, pairs=[(title, f"made for {title}") for title in titles])
    shown = task.inputs(np.arange(task.num_examples), 0)
    ids = torch.where(shown["targets"] == IGNORE_INDEX, shown["ids"], shown["targets"])
    firsts = ids * (shown["mask"] > 0) * (shown["segments"] == 0)
    seen = Counter(tuple(token for token in row if token not in (0, START, END)) for row in firsts.tolist())
    assert set(seen.values()) == {2} and 0 < len(seen) < 23


def test_a_text_alone_draws_nothing_and_the_only_second_text_is_always_shown() -> None:
    rng = np.random.default_rng(7)
    alone = build_input((START, 10, END), None, [], 24, rng)
    assert (alone.ids, alone.second_start, alone.follows, alone.words.tolist()) == (
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
def test_of_a_pair_that_is_too_long_the_longer_text_loses_words_first(most: int, ids: tuple[int, ...]) -> None:
    shown = build_input((START, 10, 11, 12, 13, END), (START, 20, 21, END), [], most, np.random.default_rng(0))
    assert (shown.ids, shown.follows) == (ids, 1)
    assert shown.ids[shown.second_start] == 20


def test_segments_stand_under_second_texts_and_no_mark_is_hidden() -> None:
    encoder = tower()
    task = learner_of(
        encoder, MaskedLanguageModelConfig(held_out=0, next_sentence=True, share=0.9), texts=["only this"]
    )
    assert task.num_examples == 1 + len(PAIRS)
    given = task.inputs(np.arange(task.num_examples), 0)
    assert given["follows"][0] == IGNORE_INDEX and not given["segments"][0].any()
    assert 0 < int((given["follows"] == 1).sum()) < len(PAIRS)
    assert not torch.isin(given["targets"], torch.tensor([START, END])).any()
    before = torch.where(given["targets"] == IGNORE_INDEX, given["ids"], given["targets"])
    titles = {tuple(ids) for ids in encoder.tokenizer.ids([title for title, _ in PAIRS])}
    descriptions = {tuple(ids) for ids in encoder.tokenizer.ids([description for _, description in PAIRS])}
    for row in range(1, task.num_examples):
        is_second = given["segments"][row] == 1
        assert tuple(before[row][~is_second & (given["mask"][row] == 1)].tolist()) in titles
        assert (START, *before[row][is_second].tolist()) in descriptions
    assert task.inputs(np.array([5]), 0)["follows"][0] == given["follows"][5]


def test_the_loss_is_the_mean_of_the_words_plus_the_mean_of_the_pairs() -> None:
    outputs = {
        "losses": torch.tensor([6.0, 2.0, 0.0]),
        "counts": torch.tensor([3, 1, 0]),
        "pair_losses": torch.tensor([0.5, 0.0, 0.1]),
        "pair_counts": torch.tensor([1.0, 0.0, 1.0]),
    }
    assert learner_of(tower()).loss(outputs, np.arange(3)).item() == pytest.approx(8.0 / 4 + 0.6 / 2)


@pytest.mark.slow
def test_a_tower_learns_which_description_belongs_to_a_title_and_its_segments_with_it() -> None:
    encoder = tower()
    torch.manual_seed(1)
    task = learner_of(encoder)
    segments = encoder.tower.get_submodule("transformer.embeddings.token_type_embeddings").weight  # type: ignore[union-attr]
    before = segments.detach().clone()  # type: ignore[operator]
    fitted = fit_in_process(task, FitConfig(epochs=40, batch_size=16, learning_rate=3e-3))
    assert fitted.figures["paired"] >= 0.85  # 8 held-out pairs of titles that it never saw beside a text
    assert not torch.equal(segments[1].detach(), before[1])  # type: ignore[index]


def test_without_the_second_task_there_is_no_head_for_it_and_no_pair_is_shown() -> None:
    task = learner_of(tower(), MaskedLanguageModelConfig(held_out=2), texts=["red bag", "blue mug", "a hat", "a ring"])
    assert task.num_examples == 2
    assert task.inputs(np.arange(2), 0).keys() == {"ids", "mask", "targets"}
    assert not any("pair" in name for name, _ in task.module.named_parameters())
    with torch.no_grad():
        assert task.measure().keys() == {"minus_loss", "guessed"}


def test_what_the_second_task_needs_is_asked_for_in_words() -> None:
    shape = transformers.BertConfig(
        vocab_size=261, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, type_vocab_size=1
    )
    one_segment = text_encoder_of(
        TextEncoderConfig(model="one_segment", max_tokens=24), transformers.BertModel(shape), byte_tokenizer(), 0
    )
    with pytest.raises(ConfigError, match="segment embeddings, but 'one_segment' has none; set next_sentence to false"):
        learner_of(one_segment)
    with pytest.raises(ConfigError, match="max_tokens is 4; allowed with next_sentence: 5 or more"):
        learner_of(tower(4))
    for pairs, found in (([], 0), ([("bag", "one and the same"), ("mug", "one and the same")], 1)):
        with pytest.raises(
            ConfigError, match=rf"with different titles and descriptions; found {found}; set next_sentence to false"
        ):
            learner_of(
                tower(),
                MaskedLanguageModelConfig(held_out=0, next_sentence=True),
                texts=["red bag", "a mug"],
                pairs=pairs,
            )
