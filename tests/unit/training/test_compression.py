"""Pruning removes exactly what it is told to, and distillation brings a student nearer to its teacher."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.export import export_text_encoder
from intarsia.encoders.open import open_query_encoder, open_text_encoder
from intarsia.encoders.pruned_heads import attention_layers, cut_heads
from intarsia.encoders.transformer import TransformerTextEncoder
from intarsia.errors import ArtifactError, ConfigError
from intarsia.training.compression import (
    DistillationTask,
    encoder_with,
    keep_layers,
    prune_heads,
    prune_units,
    prune_weights,
    with_spans,
)
from intarsia.training.loop import FitConfig, fit_in_process
from intarsia.training.text_folder import save_text_tower

WORDS = ("red", "blue", "shoes", "dress", "linen", "for", "men", "women", "watch", "bag")


@functools.cache
def tower(kind: str = "bert") -> TransformerTextEncoder:
    encoder = open_text_encoder(TextEncoderConfig(model=f"untrained:{kind}:4", max_tokens=48))
    assert isinstance(encoder, TransformerTextEncoder)
    return encoder


def titles(number: int) -> list[str]:
    rng = np.random.default_rng(1)
    return [" ".join(rng.choice(WORDS, 5)) for _ in range(number)]


def test_spans_are_parts_of_texts_and_every_text_occurs_once() -> None:
    texts = ["red shoes for men", "red shoes for men", "bag"]
    spans = with_spans(texts, seed=3)
    assert len(spans) == len(set(spans)) and set(texts) <= set(spans)
    assert all(any(f" {span} " in f" {text} " for text in texts) for span in spans)
    assert spans == with_spans(texts, seed=3)


def test_kept_layers_equal_the_teachers_and_the_teacher_is_unchanged() -> None:
    before = tower().space_id
    student = keep_layers(tower(), [1])
    assert student.tower.transformer.config.num_hidden_layers == 1
    own = student.tower.transformer.encoder.layer[0].state_dict()
    for name, tensor in tower().tower.transformer.encoder.layer[1].state_dict().items():
        assert torch.equal(own[name], tensor)
    assert encoder_with(tower(), tower().tower.transformer).space_id == before != student.space_id


def test_all_layers_kept_give_the_same_vectors() -> None:
    student = keep_layers(tower("gpt2"), [0, 1])
    assert np.array_equal(student.encode(titles(3)), tower("gpt2").encode(titles(3)))


@pytest.mark.parametrize("kept", [[], [0, 2], [1, 0], [0, 0], [-1]])
def test_layers_that_cannot_be_kept_are_refused(kept: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"kept_layers is \[.*\]; allowed: some of 0 to 1, ascending"):
        keep_layers(tower(), kept)


@pytest.mark.parametrize("kind", ["clip", "siglip", "chinese_clip"])
def test_the_text_side_of_a_clip_model_cannot_be_pruned(kind: str) -> None:
    for cut in (lambda: keep_layers(tower(kind), [0]), lambda: prune_weights(tower(kind), 0.5)):
        with pytest.raises(
            ConfigError, match=r"text side of a CLIP model cannot be pruned: its two sides belong together"
        ):
            cut()


def test_a_tower_without_a_transformer_cannot_be_pruned() -> None:
    recurrent: Any = open_text_encoder(TextEncoderConfig(model="untrained:bilstm:4"))
    with pytest.raises(ConfigError, match=r"a \w+ has no transformer to prune; choose another tower"):
        keep_layers(recurrent, [0])


def test_a_model_with_unknown_layers_is_refused() -> None:
    encoder = keep_layers(tower(), [0, 1])
    encoder.tower.transformer.encoder = nn.Identity()
    with pytest.raises(ConfigError, match=r"layers of a BertModel were not found"):
        keep_layers(encoder, [0])


def test_a_student_gets_nearer_to_its_teacher_on_held_out_texts(tmp_path: Path) -> None:
    texts = with_spans(titles(200), seed=1)
    teacher_ND = tower().encode(texts)
    student = keep_layers(tower(), [1])
    task = DistillationTask(student, texts, teacher_ND)
    before = task.measure()["cosine_to_teacher"]
    fitted = fit_in_process(task, FitConfig(epochs=4, batch_size=16, learning_rate=2e-3, watch="cosine_to_teacher"))
    after = task.measure()["cosine_to_teacher"]
    assert after == pytest.approx(fitted.figures["cosine_to_teacher"])
    assert 1.0 - after < 0.5 * (1.0 - before)
    saved = encoder_with(student, student.tower.transformer)
    save_text_tower(saved, tmp_path / "student")
    again = open_text_encoder(TextEncoderConfig(model=str(tmp_path / "student"), max_tokens=48))
    assert again.space_id == saved.space_id


def test_the_distillation_loss_matches_its_formula() -> None:
    teacher_ND = np.eye(4, 64, dtype=np.float32)
    task = DistillationTask(tower(), ["a", "b", "c", "d"], teacher_ND)
    vectors_BD = torch.tensor([[0.6, 0.8] + [0.0] * 62, [0.0, 1.0] + [0.0] * 62])
    loss = task.loss({"vectors": vectors_BD}, np.array([0, 1]))
    off = 0.8  # the cosine of the two, 0 in the teacher's eyes; it stands twice among the four of the batch
    assert float(loss) == pytest.approx(1.0 - (0.6 + 1.0) / 2 + 10.0 * 2 * off**2 / 4)


def test_a_student_of_another_width_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the student is 64 wide, its teacher 3; allowed: equal widths"):
        DistillationTask(tower(), ["a", "b"], np.eye(2, 3, dtype=np.float32))


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_smallest_weights_are_zero_and_the_others_as_before(kind: str) -> None:
    pruned, before = prune_weights(tower(kind), 0.3).tower.transformer, tower(kind).tower.transformer
    smallest_kept, largest_gone, num_zeros, num_all = np.inf, 0.0, 0, 0
    for (name, module), (_, old) in zip(pruned.named_modules(), before.named_modules(), strict=True):
        if isinstance(module, (nn.Linear, Conv1D)):
            gone = module.weight == 0
            assert torch.equal(module.weight[~gone], old.weight[~gone]), name
            smallest_kept = min(smallest_kept, float(old.weight[~gone].detach().abs().min()))
            largest_gone = max(largest_gone, float(old.weight[gone].detach().abs().max()))
            num_zeros, num_all = num_zeros + int(gone.sum()), num_all + gone.numel()
    assert num_zeros == int(0.3 * num_all)
    assert largest_gone <= smallest_kept


def test_nothing_pruned_is_the_same_encoder() -> None:
    assert prune_weights(tower(), 0.0).space_id == tower().space_id


def test_heads_without_effect_are_removed_first() -> None:
    silent = keep_layers(tower(), [0, 1])
    with torch.no_grad():
        for layer, head in ((0, 2), (1, 0)):
            dense = attention_layers(silent.tower.transformer)[layer].output.dense
            dense.weight[:, head * 16 : (head + 1) * 16] = 0.0
    pruned, moved = prune_heads(silent, 2, titles(5))
    assert pruned.tower.transformer.config.kept_heads == [[0, 1, 3], [1, 2, 3]]
    assert moved[0, 2] == pytest.approx(0.0, abs=1e-6) and moved[1, 0] == pytest.approx(0.0, abs=1e-6)
    assert np.allclose(pruned.encode(titles(5)), silent.encode(titles(5)), atol=1e-5)


def test_every_layer_keeps_a_head() -> None:
    pruned, _ = prune_heads(tower(), 8, titles(3))
    assert [len(heads) for heads in pruned.tower.transformer.config.kept_heads] == [1, 1]


def test_heads_removed_twice_keep_their_original_numbers() -> None:
    model = keep_layers(tower(), [0, 1]).tower.transformer
    cut_heads(model, [[0, 2, 3], [1, 2, 3]])
    cut_heads(model, [[1, 2], [0]])
    assert model.config.kept_heads == [[2, 3], [1]]


def test_a_model_with_cut_heads_is_saved_opened_and_exported(tmp_path: Path) -> None:
    pruned, _ = prune_heads(tower(), 3, titles(5))
    save_text_tower(pruned, tmp_path / "cut")
    again = open_text_encoder(TextEncoderConfig(model=str(tmp_path / "cut"), max_tokens=48))
    assert again.space_id == pruned.space_id
    assert np.array_equal(again.encode(titles(3)), pruned.encode(titles(3)))
    card = export_text_encoder(again, tmp_path / "query", probes=titles(5), min_cosine=0.0)
    assert card["fp32_cosine_to_torch"] == pytest.approx(1.0, abs=1e-5)
    query = open_query_encoder(tmp_path / "query", "fp32")
    assert np.allclose(query.encode(titles(3)), pruned.encode(titles(3)), atol=1e-4)


def test_a_damaged_folder_of_a_pruned_model_is_refused(tmp_path: Path) -> None:
    pruned, _ = prune_heads(tower(), 3, titles(5))
    save_text_tower(pruned, tmp_path / "cut")
    save_text_tower(tower(), tmp_path / "whole")
    weights = tmp_path / "cut" / "model.safetensors"
    config = TextEncoderConfig(model=str(tmp_path / "cut"), max_tokens=48)
    weights.write_bytes((tmp_path / "whole" / "model.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match=r"model.safetensors does not match its config.json"):
        open_text_encoder(config)
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"model.safetensors is missing; save the model again"):
        open_text_encoder(config)


def test_units_without_effect_are_removed_first() -> None:
    silent = keep_layers(tower(), [0, 1])
    with torch.no_grad():
        for layer in silent.tower.transformer.encoder.layer:
            layer.output.dense.weight[:, ::2] = 0.0
    pruned = prune_units(silent, 64, titles(5))
    assert pruned.tower.transformer.config.intermediate_size == 64
    assert np.allclose(pruned.encode(titles(5)), silent.encode(titles(5)), atol=1e-5)


def test_only_the_bert_family_can_lose_heads_and_units() -> None:
    with pytest.raises(ConfigError, match=r"attention of a GPT2Model differs from BERT.s"):
        prune_heads(tower("gpt2"), 1, titles(2))
    with pytest.raises(ConfigError, match=r"attention of a GPT2Model differs from BERT.s"):
        prune_units(tower("gpt2"), 8, titles(2))
