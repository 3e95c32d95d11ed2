"""A text tower getting to know a catalog's language: it guesses hidden words (masked-language-model pre-training).

The head that guesses lives only during the fit: its weights are the word embeddings, turned round.

Letters: b texts on one worker, T tokens, D width, V vocabulary, n hidden tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from intarsia.config import check_range, setting
from intarsia.encoders.learning.learner import Rows, Tensors
from intarsia.encoders.tokenizer import pad
from intarsia.encoders.torch_text import TorchTextEncoder
from intarsia.encoders.transformer import TextTower
from intarsia.errors import ConfigError

_SHOWN_AS_MASK, _SHOWN_AS_OTHER = 0.8, 0.1  # of the hidden tokens; the rest is shown as it is
_NOT_ASKED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedWordsConfig:
    """How words are hidden."""

    share: float = setting("share of a text's tokens that are guessed, at least one", 0.15)
    held_out: int = setting("texts, taken evenly from the catalog, that only measure", 256)

    def __post_init__(self) -> None:
        check_range(self, "held_out", low=0)
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; allowed: above 0, below 1")


class GuessingTower(nn.Module):
    """A transformer under a head: a dense layer, a norm, and the word embeddings as the last layer.

    Source: BERT, Devlin et al., NAACL 2019, section 3.1, doi:10.18653/v1/N19-1423; tied weights: Press and Wolf, EACL 2017.
    """

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer
        self.words = transformer.get_input_embeddings()
        num_words, width = self.words.weight.shape
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(num_words))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, wanted: torch.Tensor) -> dict[str, torch.Tensor]:
        """Per text the summed loss of its hidden tokens, how many there are, and how many were guessed; `wanted` is -100 elsewhere."""
        states_bTD = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        asked_bT = wanted != _NOT_ASKED
        guesses_nV = F.linear(self.norm(F.gelu(self.dense(states_bTD[asked_bT]))), self.words.weight, self.bias)
        losses_n = F.cross_entropy(guesses_nV.float(), wanted[asked_bT], reduction="none")
        right_n = (guesses_nV.argmax(dim=1) == wanted[asked_bT]).to(losses_n.dtype)
        row_n = asked_bT.nonzero()[:, 0]
        empty_b = losses_n.new_zeros(len(ids))
        return {
            "losses": empty_b.index_add(0, row_n, losses_n),
            "right": empty_b.index_add(0, row_n, right_n),
            "counts": asked_bT.sum(dim=1),
        }


class MaskedWordsLearner:
    """`Learner` that hides words of catalog texts.

    Args:
        encoder: whose transformer is trained in place.
        texts: of the catalog; repeated ones count once.
        mask_id: the token that stands for a hidden one.
        config: how words are hidden.
        seed: of what is hidden.

    Raises:
        ConfigError: no text is left to learn from, or the tower is not a transformer of BERT's kind alone.
    """

    def __init__(
        self,
        encoder: TorchTextEncoder,
        texts: Sequence[str],
        mask_id: int,
        config: MaskedWordsConfig,
        *,
        seed: int = 0,
    ) -> None:
        if not isinstance(encoder.tower, TextTower) or _sees_only_the_past(encoder.tower.transformer):
            raise ConfigError(
                "masked words need a tower of the BERT family that is no side of a CLIP model and sees both sides of a word; leave them "
                "out, or take another tower"
            )
        self._module = GuessingTower(encoder.tower.transformer)
        self._pad_id, self._mask_id, self._seed, self._config = encoder.pad_id, mask_id, seed, config
        tokens = [ids for ids in encoder.tokenizer.ids(sorted(set(texts))) if len(ids) > 2]
        every = max(1, len(tokens) // config.held_out) if config.held_out else len(tokens) + 1
        self._held_out = tokens[every - 1 :: every] if config.held_out else []
        self._tokens = [ids for n, ids in enumerate(tokens) if not config.held_out or n % every != every - 1]
        if not self._tokens:
            raise ConfigError(f"{len(tokens)} texts with words, {config.held_out} held out: none is left to learn from")

    @property
    def module(self) -> nn.Module:
        """A `GuessingTower`."""
        return self._module

    @property
    def num_examples(self) -> int:
        """Texts."""
        return len(self._tokens)

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Texts with hidden words, and the words."""
        return self._hidden([self._tokens[row] for row in rows_b], [(self._seed, step, int(row)) for row in rows_b])

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """Cross-entropy, the mean over all hidden words of the batch."""
        return outputs["losses"].sum() / outputs["counts"].sum().clamp(min=1)

    def measure(self) -> Mapping[str, float]:
        """On the held-out texts, with the same words hidden every time: minus the loss, and the share of words that are guessed."""
        if not self._held_out:
            return {}
        device = self._module.bias.device
        losses = right = counts = 0.0
        for start in range(0, len(self._held_out), _MEASURED_TOGETHER):
            some = self._held_out[start : start + _MEASURED_TOGETHER]
            given = self._hidden(some, [(self._seed, -1 % (1 << 32), start + n) for n in range(len(some))])
            found = self._module(**{name: tensor.to(device) for name, tensor in given.items()})
            losses, right = losses + float(found["losses"].sum()), right + float(found["right"].sum())
            counts += float(found["counts"].sum())
        return {"minus_loss": -losses / counts, "guessed": right / counts}

    def _hidden(self, tokens: Sequence[Sequence[int]], seeds: Sequence[tuple[int, ...]]) -> dict[str, torch.Tensor]:
        ids_bT, mask_bT = pad(tokens, self._pad_id)
        wanted_bT = np.full_like(ids_bT, _NOT_ASKED)
        num_words = self._module.words.weight.shape[0]
        for i, (own, seed) in enumerate(zip(tokens, seeds, strict=True)):
            _hide(
                ids_bT[i, : len(own)],
                wanted_bT[i],
                np.random.default_rng(seed),
                self._config.share,
                self._mask_id,
                num_words,
            )
        arrays = {"ids": ids_bT, "mask": mask_bT, "wanted": wanted_bT}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


_MEASURED_TOGETHER = 32


def _hide(
    ids_T: NDArray[np.int64],
    wanted_T: NDArray[np.int64],
    rng: np.random.Generator,
    share: float,
    mask_id: int,
    num_words: int,
) -> None:
    """In place; the first and the last token are the model's marks and stay."""
    count = max(1, round(share * (len(ids_T) - 2)))
    places = 1 + rng.choice(len(ids_T) - 2, size=count, replace=False)
    wanted_T[places] = ids_T[places]
    fate = rng.random(count)
    ids_T[places[fate < _SHOWN_AS_MASK]] = mask_id
    others = places[(fate >= _SHOWN_AS_MASK) & (fate < _SHOWN_AS_MASK + _SHOWN_AS_OTHER)]
    ids_T[others] = rng.integers(num_words, size=len(others))


def _sees_only_the_past(transformer: Any) -> bool:
    with torch.inference_mode():
        training = transformer.training
        states_2TD = transformer.eval()(input_ids=torch.tensor([[0, 0, 0], [0, 1, 1]])).last_hidden_state
        transformer.train(training)
    return bool(torch.equal(states_2TD[0, 0], states_2TD[1, 0]))
