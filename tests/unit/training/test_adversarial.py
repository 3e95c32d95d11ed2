"""Adversarial training (FGM): the shift of the word embeddings, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.open import open_image_encoder, open_text_encoder
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ConfigError
from intarsia.training.adversarial import perturbed, word_embeddings
from intarsia.training.loop import FitConfig, fit_in_process
from intarsia.training.task import Rows, Tensors
from tests.mean_of_line import MeanOfLine


def test_fgm_moves_the_word_embeddings_along_their_gradient_and_back() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    with perturbed(weight, torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 0.5):
        assert weight.tolist() == pytest.approx(np.array([[1.3, 2.0], [3.0, 4.4]]))
    assert weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    with perturbed(weight, torch.zeros(2, 2), 0.5):
        assert weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_fgm_adds_the_gradient_at_the_shifted_embeddings() -> None:
    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(1, 1, _weight=torch.tensor([[2.0]]))

        def forward(self, ids_b: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"square": self.words(ids_b) ** 2}

    class TrainingTask(MeanOfLine):
        def __init__(self) -> None:
            super().__init__(num_examples=2)
            self.module = Squares()  # type: ignore[assignment]

        def inputs(self, rows_b: Rows, step: int) -> Tensors:
            return {"ids_b": torch.zeros(len(rows_b), dtype=torch.int64)}

        def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
            return outputs["square"].mean()

        def after_step(self, step: int, num_steps: int) -> None:
            self.gradients.append(float(self.module.words.weight.grad))

    task = TrainingTask()
    fitted = fit_in_process(task, FitConfig(epochs=1, batch_size=1, accumulate=2, fgm_epsilon=0.5, max_grad_norm=0.0))
    assert task.gradients == [2 * 2.0 + 2 * 2.5]  # d(x^2) at 2 and at 2.5, of both batches alike
    assert fitted.curve[0].loss == 4.0


@pytest.mark.parametrize("kind", ["bert", "gpt2", "clip", "siglip", "chinese_clip", "bilstm", "dnn"])
def test_the_word_embeddings_of_every_family_are_found(kind: str) -> None:
    encoder = open_text_encoder(TextEncoderConfig(model=f"untrained:{kind}:3", max_tokens=16))
    assert isinstance(encoder, TorchTextEncoder)
    weights = word_embeddings(encoder.tower)
    (ids,) = encoder.tokenizer.ids(["bag"])
    encoder.tower(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64))[0, 0].backward()
    assert weights.grad is not None
    rows_with_gradient = set(weights.grad.abs().sum(dim=1).nonzero().flatten().tolist())
    assert (
        set(ids) <= rows_with_gradient <= {*ids, encoder.pad_id}
    )  # the rows of the words that were read; SigLIP reads padding too


@pytest.mark.parametrize("kind", ["clip", "siglip", "chinese_clip", "cnn"])
def test_an_image_side_has_no_word_embeddings(kind: str) -> None:
    encoder = open_image_encoder(ImageEncoderConfig(model=f"untrained:{kind}:3"))
    with pytest.raises(ConfigError, match="this module has none; set fgm_epsilon to 0"):
        word_embeddings(encoder.tower)


def test_word_embeddings_are_those_that_the_transformer_names() -> None:
    class WithInputEmbeddings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions, self.tokens = nn.Embedding(50, 2), nn.Embedding(9, 2)

        def get_input_embeddings(self) -> nn.Module:
            return self.tokens

    module = WithInputEmbeddings()
    assert word_embeddings(nn.Sequential(module)) is module.tokens.weight
    with pytest.raises(
        ConfigError, match="fgm_epsilon shifts word embeddings, but this module has none; set fgm_epsilon to 0"
    ):
        word_embeddings(nn.Linear(2, 2))
    module.tokens.weight.requires_grad_(False)
    with pytest.raises(ConfigError, match="this fit keeps them frozen; set fgm_epsilon to 0 or train all weights"):
        word_embeddings(module)
