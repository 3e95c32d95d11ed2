"""Pre-training of a text tower on a catalog: masked-language-model loss, and optionally next-sentence prediction.

The prediction heads exist during the fit only. The word head uses the word embeddings, transposed, as its last layer.

Letters: b examples on one worker, T tokens, D width, V vocabulary, n masked tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from intarsia.config import check_range, setting
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.inputs import pad
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.encoders.transformer import TextTower
from intarsia.errors import ConfigError
from intarsia.training.task import Rows, Tensors

IGNORE_INDEX = -100
"""Target that torch's cross-entropy ignores."""
MIN_PAIR_TOKENS = 5
"""Tokens of the shortest pair: three special tokens, and one token of each text."""
_UNCHANGED_SHARE = 0.5  # share of the pairs that keep their own second text

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """Token ids of one example.

    Attributes:
        ids: special token, text, special token; for a pair, followed by second text, special token.
        second_start: position of the second text's first token; the length if there is none.
        follows: 1 if the second text is the first one's own, 0 if it is another's, IGNORE_INDEX if there is none.
    """

    ids: Tokens
    second_start: int
    follows: int

    @property
    def words(self) -> NDArray[np.int64]:
        """Positions of tokens that are not special."""
        return np.array([n for n in range(1, len(self.ids) - 1) if n != self.second_start - 1], np.int64)


def build_input(
    first: Tokens, second: Tokens | None, seconds: Sequence[Tokens], max_tokens: int, rng: np.random.Generator
) -> ModelInput:
    """Build the input of an example for this step.

    Args:
        first: a text with its special tokens.
        second: the text that follows it, with its special tokens; None gives the first text alone.
        seconds: distinct second texts, from which another one is drawn; with fewer than two the own text is always
            used.
        max_tokens: largest number of tokens of a pair, `MIN_PAIR_TOKENS` or more; tokens are removed at the end of the
            longer text.
        rng: draws the second text; not used for a text alone.

    Source: BERT, Devlin et al., NAACL 2019, section 3.1 and appendix A.1, arXiv:1810.04805
    """
    if second is None:
        return ModelInput(ids=first, second_start=len(first), follows=IGNORE_INDEX)
    follows = len(seconds) < 2 or rng.random() < _UNCHANGED_SHARE
    if not follows:
        other = seconds[int(rng.integers(len(seconds) - 1))]
        second = seconds[-1] if other == second else other  # the own text is replaced by the last one
    num_first, num_second = len(first) - 2, len(second) - 2
    while num_first + num_second + 3 > max_tokens:
        num_first, num_second = (num_first - 1, num_second) if num_first > num_second else (num_first, num_second - 1)
    start = (*first[: 1 + num_first], first[-1])
    return ModelInput(
        ids=(*start, *second[1 : 1 + num_second], second[-1]), second_start=len(start), follows=int(follows)
    )


_Example = tuple[Tokens, Tokens | None]
_MASK_SHARE, _RANDOM_SHARE = 0.8, 0.1  # shares of the masked tokens; the rest stays as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedLanguageModelConfig:
    """Masking, and next-sentence prediction."""

    share: float = setting("share of the tokens of a text that are masked, at least one", 0.15, advanced=True)
    held_out: int = setting("texts, evenly spaced over the catalog, that are used only to measure", 256, advanced=True)
    next_sentence: bool = setting(
        "also train next-sentence prediction on product titles with descriptions, half of them another product's; "
        "needs a model with segment embeddings, such as BERT",
        False,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check_range(self, "held_out", low=0)
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; allowed: above 0, below 1")


class MaskedLanguageModel(nn.Module):
    """A transformer with a word head (dense layer, norm, word embeddings) and optionally a pair head, which reads the
    first token.

    Args:
        transformer: of the BERT family.
        has_pair_head: whether there is a pair head.

    Source: BERT, Devlin et al., NAACL 2019, section 3.1, doi:10.18653/v1/N19-1423; tied weights: Press and Wolf, EACL
    2017.
    """

    def __init__(self, transformer: Any, *, has_pair_head: bool) -> None:
        super().__init__()
        self.transformer = transformer
        self.words = transformer.get_input_embeddings()
        num_words, width = self.words.weight.shape
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(num_words))
        self.pair_head: nn.Module | None = None
        if has_pair_head:
            self.pair_head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor, **pairs: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Per example: summed loss of its masked tokens, their number, and how many were predicted right; the same for
        its pair.

        Args:
            ids: int64 [b, T].
            mask: int64 [b, T].
            targets: int64 [b, T], the masked tokens; IGNORE_INDEX elsewhere.
            pairs: with a pair head: `segments` int64 [b, T], 1 in second texts, and `follows` int64 [b], as in
                `ModelInput`.
        """
        segments = {"token_type_ids": pairs["segments"]} if pairs else {}
        states_bTD = self.transformer(input_ids=ids, attention_mask=mask, **segments).last_hidden_state
        is_masked_bT = targets != IGNORE_INDEX
        logits_nV = F.linear(self.norm(F.gelu(self.dense(states_bTD[is_masked_bT]))), self.words.weight, self.bias)
        losses_n = F.cross_entropy(logits_nV.float(), targets[is_masked_bT], reduction="none")
        is_right_n = (logits_nV.argmax(dim=1) == targets[is_masked_bT]).to(losses_n.dtype)
        rows_n = is_masked_bT.nonzero()[:, 0]
        zeros_b = losses_n.new_zeros(len(ids))
        outputs = {
            "losses": zeros_b.index_add(0, rows_n, losses_n),
            "right": zeros_b.index_add(0, rows_n, is_right_n),
            "counts": is_masked_bT.sum(dim=1),
        }
        if self.pair_head is None:
            return outputs
        follows_b, pair_logits_b2 = pairs["follows"], self.pair_head(states_bTD[:, 0]).float()
        return outputs | {
            "pair_losses": F.cross_entropy(pair_logits_b2, follows_b, reduction="none", ignore_index=IGNORE_INDEX),
            "pair_right": (pair_logits_b2.argmax(dim=1) == follows_b).to(losses_n.dtype),
            "pair_counts": (follows_b != IGNORE_INDEX).to(losses_n.dtype),
        }


class MaskedLanguageModelTask:
    """`TrainingTask` that masks tokens of catalog texts, and of text pairs whose second text it may replace.

    Args:
        encoder: its transformer is trained in place.
        texts: texts of the catalog; repeated texts count once.
        mask_id: id of the mask token.
        config: settings of masking.
        pairs: texts with the text that follows each; used if the config has `next_sentence`.
        seed: draws the masks and the replaced texts.

    Raises:
        ConfigError: no text is left to train on, the tower is not a transformer of the BERT family, or next sentences
            are requested and it has no segments, reads too few tokens, or there are not two distinct second texts.
    """

    def __init__(
        self,
        encoder: TorchTextEncoder,
        texts: Sequence[str],
        mask_id: int,
        config: MaskedLanguageModelConfig,
        *,
        pairs: Sequence[tuple[str, str]] = (),
        seed: int = 0,
    ) -> None:
        if not isinstance(encoder.tower, TextTower) or _is_causal(encoder.tower.transformer):
            raise ConfigError(
                "masked_epochs needs a tower of the BERT family, whose tokens see the tokens on both sides; set "
                "masked_epochs to 0, or choose another tower"
            )
        self._module = MaskedLanguageModel(encoder.tower.transformer, has_pair_head=config.next_sentence)
        self._encoder, self._mask_id, self._seed, self._config = encoder, mask_id, seed, config
        examples: list[_Example] = [(ids, None) for (ids,) in _with_words(encoder, [(text,) for text in texts])]
        if config.next_sentence:
            num_segments = getattr(encoder.tower.transformer.config, "type_vocab_size", 0)
            _check_segments(encoder.config, num_segments)
            examples += [(first, second) for first, second in _with_words(encoder, pairs)]
        # a title, and all pairs of it, are on one side of the split
        first_texts = list(dict.fromkeys(first for first, _ in examples))
        num_held_out = min(config.held_out, len(first_texts))
        held_out_firsts = {first_texts[n * len(first_texts) // num_held_out] for n in range(num_held_out)}
        self._held_out = [example for example in examples if example[0] in held_out_firsts]
        self._examples = [example for example in examples if example[0] not in held_out_firsts]
        self._seconds, self._held_out_seconds = _seconds_of(self._examples), _seconds_of(self._held_out)
        if not self._examples:
            raise ConfigError(
                f"{len(examples)} texts with words, {config.held_out} held out: none is left to train on; lower "
                "masked.held_out"
            )
        if config.next_sentence and len(self._seconds) < 2:
            raise ConfigError(
                f"next_sentence needs two products with different titles and descriptions; found {len(self._seconds)}; "
                "set next_sentence to false"
            )

    @property
    def module(self) -> nn.Module:
        """A `MaskedLanguageModel`."""
        return self._module

    @property
    def num_examples(self) -> int:
        """Texts, and pairs of texts."""
        return len(self._examples)

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Texts with masked tokens, and the targets; pairs with the second text of this step."""
        rngs = [np.random.default_rng((self._seed, step, int(row))) for row in rows_b]
        return self._masked_inputs([self._examples[row] for row in rows_b], self._seconds, rngs)

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """Mean cross-entropy of the masked tokens of the batch, plus that of the pairs."""
        words = outputs["losses"].sum() / outputs["counts"].sum().clamp(min=1)
        if "pair_losses" not in outputs:
            return words
        return words + outputs["pair_losses"].sum() / outputs["pair_counts"].sum().clamp(min=1)

    def measure(self) -> Mapping[str, float]:
        """On the held-out texts: minus the word loss, the share of words predicted right, and of pairs classified
        right.

        The same tokens are masked and the same texts replaced every time.
        """
        if not self._held_out:
            return {}
        device = self._module.bias.device
        sums: Counter[str] = Counter()
        for start in range(0, len(self._held_out), _MEASURE_BATCH):
            batch = self._held_out[start : start + _MEASURE_BATCH]
            rngs = [np.random.default_rng((self._seed, -1 % (1 << 32), start + n)) for n in range(len(batch))]
            inputs = self._masked_inputs(batch, self._held_out_seconds, rngs)
            examples = self._module(**{name: tensor.to(device) for name, tensor in inputs.items()})
            sums.update({name: float(tensor.sum()) for name, tensor in examples.items()})
        figures = {"minus_loss": -sums["losses"] / sums["counts"], "guessed": sums["right"] / sums["counts"]}
        return figures | ({"paired": sums["pair_right"] / sums["pair_counts"]} if sums["pair_counts"] else {})

    def _masked_inputs(
        self, examples: Sequence[_Example], seconds: Sequence[Tokens], rngs: Sequence[np.random.Generator]
    ) -> dict[str, torch.Tensor]:
        max_tokens = self._encoder.config.max_tokens
        inputs = [build_input(*example, seconds, max_tokens, rng) for example, rng in zip(examples, rngs, strict=True)]
        ids_bT, mask_bT = pad([example.ids for example in inputs], self._encoder.pad_id)
        targets_bT, segments_bT = np.full_like(ids_bT, IGNORE_INDEX), np.zeros_like(ids_bT)
        num_words = self._module.words.weight.shape[0]
        for i, (example, rng) in enumerate(zip(inputs, rngs, strict=True)):
            segments_bT[i, example.second_start : len(example.ids)] = 1
            _mask_tokens(ids_bT[i], targets_bT[i], example, rng, self._config.share, self._mask_id, num_words)
        arrays = {"ids": ids_bT, "mask": mask_bT, "targets": targets_bT}
        if self._config.next_sentence:
            arrays |= {"segments": segments_bT, "follows": np.array([example.follows for example in inputs])}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


_MEASURE_BATCH = 32


def _with_words(encoder: TorchTextEncoder, texts: Sequence[tuple[str, ...]]) -> list[tuple[Tokens, ...]]:
    """The distinct texts, sorted, as token ids; those without any word are left out."""
    distinct = sorted(set(texts))
    ids = iter(encoder.tokenizer.ids([ids for texts in distinct for ids in texts]))
    tokens = [tuple(tuple(next(ids)) for _ in texts) for texts in distinct]
    return [text_ids for text_ids in tokens if all(len(ids) > 2 for ids in text_ids)]


def _seconds_of(examples: Sequence[_Example]) -> list[Tokens]:
    return sorted({second for _, second in examples if second is not None})


def _check_segments(config: TextEncoderConfig, num_segments: int) -> None:
    if num_segments < 2:
        raise ConfigError(
            f"next_sentence needs segment embeddings, but {config.model!r} has none; set next_sentence to false"
        )
    if config.max_tokens < MIN_PAIR_TOKENS:
        raise ConfigError(f"max_tokens is {config.max_tokens}; allowed with next_sentence: {MIN_PAIR_TOKENS} or more")


def _mask_tokens(
    ids_T: NDArray[np.int64],
    targets_T: NDArray[np.int64],
    model_input: ModelInput,
    rng: np.random.Generator,
    share: float,
    mask_id: int,
    num_words: int,
) -> None:
    """Mask tokens in place; special tokens are never masked."""
    words = model_input.words
    count = max(1, round(share * len(words)))
    positions = words[rng.choice(len(words), size=count, replace=False)]
    targets_T[positions] = ids_T[positions]
    draws = rng.random(count)
    ids_T[positions[draws < _MASK_SHARE]] = mask_id
    replaced = positions[(draws >= _MASK_SHARE) & (draws < _MASK_SHARE + _RANDOM_SHARE)]
    ids_T[replaced] = rng.integers(num_words, size=len(replaced))


def _is_causal(transformer: Any) -> bool:
    with torch.inference_mode():
        training = transformer.training
        states_2TD = transformer.eval()(input_ids=torch.tensor([[0, 0, 0], [0, 1, 1]])).last_hidden_state
        transformer.train(training)
    return bool(torch.equal(states_2TD[0, 0], states_2TD[1, 0]))
