"""Masked-language-model pre-training, and text towers as folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from intarsia.encoders.config import MINILM, USE_MULTILINGUAL, TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.recurrent import RecurrentShape, RecurrentTextEncoder, build_recurrent
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ConfigError
from intarsia.training.loop import FitConfig, fit_in_process
from intarsia.training.masked_language_model import MaskedLanguageModelConfig, MaskedLanguageModelTask
from intarsia.training.text_folder import get_arrays, mask_id_of, save_text_tower, set_arrays

TEXTS = [f"{colour} {thing} {n}" for colour in ("red", "blue") for thing in ("bag", "mug") for n in range(8)]


def tower(model: str = "untrained:bert:3", **settings: object) -> TorchTextEncoder:
    encoder = open_text_encoder(TextEncoderConfig(model=model, max_tokens=24, **settings))  # type: ignore[arg-type]
    assert isinstance(encoder, TorchTextEncoder)
    return encoder


def test_masked_tokens_are_predicted_better_after_the_fit() -> None:
    encoder = tower()
    task = MaskedLanguageModelTask(encoder, TEXTS, mask_id_of(encoder), MaskedLanguageModelConfig(held_out=8), seed=1)
    assert task.num_examples == 24
    with torch.no_grad():
        before = task.module.eval() and dict(task.measure())
    fitted = fit_in_process(task, FitConfig(epochs=15, batch_size=8, learning_rate=3e-3))
    assert fitted.figures["minus_loss"] > before["minus_loss"] + 1.0
    assert fitted.figures["guessed"] > before["guessed"]


def test_the_configured_share_of_tokens_is_masked() -> None:
    encoder = tower()
    task = MaskedLanguageModelTask(
        encoder, TEXTS * 20, mask_id_of(encoder), MaskedLanguageModelConfig(share=0.3, held_out=0)
    )
    inputs = task.inputs(np.arange(task.num_examples), 0)
    is_masked = inputs["targets"] != -100
    lengths = inputs["mask"].sum(dim=1)
    assert not is_masked[:, 0].any() and not is_masked[torch.arange(len(lengths)), lengths - 1].any()
    assert torch.equal(is_masked.sum(dim=1), torch.round(0.3 * (lengths - 2)).long())
    assert float((inputs["ids"][is_masked] == mask_id_of(encoder)).float().mean()) == pytest.approx(0.8, abs=0.1)
    assert torch.equal(task.inputs(np.array([3]), 0)["targets"][0], inputs["targets"][3][: lengths[3]])


def test_holding_out_all_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 texts with words, 5 held out: none is left to train on"):
        MaskedLanguageModelTask(tower(), ["red bag", "blue mug"], 4, MaskedLanguageModelConfig(held_out=5))


def test_no_more_texts_are_held_out_than_configured() -> None:
    task = MaskedLanguageModelTask(tower(), TEXTS, 4, MaskedLanguageModelConfig(held_out=len(set(TEXTS)) - 1))
    assert task.num_examples == TEXTS.count(TEXTS[-1])


def test_without_held_out_texts_nothing_is_measured() -> None:
    task = MaskedLanguageModelTask(tower(), TEXTS, 4, MaskedLanguageModelConfig(held_out=0))
    assert dict(task.measure()) == {}


@pytest.mark.parametrize("kind", ["gpt2", "bilstm", "dnn", "clip", "siglip", "chinese_clip"])
def test_towers_outside_the_bert_family_are_refused(kind: str) -> None:
    with pytest.raises(
        ConfigError, match="masked_epochs needs a tower of the BERT family, whose tokens see the tokens on both sides"
    ):
        MaskedLanguageModelTask(tower(f"untrained:{kind}:3"), TEXTS, 4, MaskedLanguageModelConfig())


def test_a_catalog_without_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 texts with words"):
        MaskedLanguageModelTask(tower(), ["", ""], 4, MaskedLanguageModelConfig())


def test_shares_of_nothing_and_of_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"share is 1\.0"):
        MaskedLanguageModelConfig(share=1.0)


@pytest.mark.parametrize(
    "model", ["untrained:bert:3", "untrained:gpt2:3", "untrained:bilstm:3", "untrained:clip:3", MINILM]
)
def test_a_saved_tower_opens_as_the_same_encoder(model: str, tmp_path: Path) -> None:
    encoder = tower(model)
    save_text_tower(encoder, tmp_path / "tower")
    again = tower(str(tmp_path / "tower"))
    texts = ["red bag", "", "a longer text about one blue mug with a handle and more"]
    np.testing.assert_allclose(again.encode(texts), encoder.encode(texts), atol=1e-6)


def test_arrays_of_a_tower_set_in_another_give_its_vectors() -> None:
    one, other = tower("untrained:bert:1"), tower("untrained:bert:2")
    assert not np.allclose(one.encode(["red bag"]), other.encode(["red bag"]), atol=1e-3)
    set_arrays(other, get_arrays(one))
    assert one.encode(["red bag"]).tobytes() == other.encode(["red bag"]).tobytes()


def test_saving_needs_torch_and_masking_needs_a_mask_token(tmp_path: Path) -> None:
    other = open_text_encoder(TextEncoderConfig(model=USE_MULTILINGUAL))
    with pytest.raises(ConfigError, match="cannot be saved as a folder"):
        save_text_tower(other, tmp_path)  # type: ignore[arg-type]
    shape = RecurrentShape(kind="dnn", num_tokens=2)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "red": 1}, unk_token="[UNK]"))
    without_mask = RecurrentTextEncoder(TextEncoderConfig(), shape, build_recurrent(shape), words)
    with pytest.raises(ConfigError, match=r"has no \[MASK\] or <mask>, so no word can be masked"):
        mask_id_of(without_mask)
