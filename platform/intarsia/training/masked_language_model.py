"""A text and the one that follows it as one input, and which second text is shown: its own, or, half of the time, another's.

What is learned of it is `masked_words.py`'s matter.


A text tower getting to know a catalog's language: it guesses hidden words (masked-language-model pre-training), and if asked to,
whether a second text belongs to the first (next-sentence prediction).

The heads that guess live only during the fit; the weights of the one for words are the word embeddings, turned round.

Letters: b examples on one worker, T tokens, D width, V vocabulary, n hidden tokens.
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
"""What is not to be guessed, as torch's cross-entropy marks it."""
MIN_PAIR_TOKENS = 5
"""Of two texts: three marks, and a word of each."""
_OWN = 0.5  # share of the pairs that are shown as they are

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a transformer is shown of one example.

    Attributes:
        ids: mark, text, mark; or mark, text, mark, second text, mark.
        second_from: place of the second text's first token; the length where there is none.
        follows: 1 where the second text is the first one's own, 0 where it is another's, NOT_ASKED where there is none.
    """

    ids: Tokens
    second_from: int
    follows: int

    @property
    def words(self) -> NDArray[np.int64]:
        """Places of tokens that are no marks."""
        return np.array([n for n in range(1, len(self.ids) - 1) if n != self.second_from - 1], np.int64)


def build_input(
    first: Tokens, second: Tokens | None, seconds: Sequence[Tokens], most: int, rng: np.random.Generator
) -> Shown:
    """An example as it is shown this time.

    Args:
        first: a text between its marks.
        second: the one that follows it, between its marks; none shows the first alone.
        seconds: different ones, from which another is drawn; with fewer than two the own one is always shown.
        most: tokens of a pair; words at the end of the longer text go first. `LEAST_TOKENS` or more.
        rng: of what is drawn; nothing is drawn for a text alone.

    Source: BERT, Devlin et al., NAACL 2019, section 3.1 and appendix A.1, arXiv:1810.04805
    """
    if second is None:
        return Shown(ids=first, second_from=len(first), follows=IGNORE_INDEX)
    follows = len(seconds) < 2 or rng.random() < _OWN
    if not follows:
        other = seconds[int(rng.integers(len(seconds) - 1))]
        second = seconds[-1] if other == second else other  # the last stands in for the own one
    num_first, num_second = len(first) - 2, len(second) - 2
    while num_first + num_second + 3 > most:
        num_first, num_second = (num_first - 1, num_second) if num_first > num_second else (num_first, num_second - 1)
    start = (*first[: 1 + num_first], first[-1])
    return Shown(ids=(*start, *second[1 : 1 + num_second], second[-1]), second_from=len(start), follows=int(follows))


_Example = tuple[Tokens, Tokens | None]
_SHOWN_AS_MASK, _SHOWN_AS_OTHER = 0.8, 0.1  # of the hidden tokens; the rest is shown as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedLanguageModelConfig:
    """How words are hidden, and whether pairs of texts are shown too."""

    share: float = setting("share of a text's tokens that are guessed, at least one", 0.15)
    held_out: int = setting("texts, taken evenly from the catalog, that only measure", 256)
    next_sentence: bool = setting(
        "whether it is also shown each product's title with a description, half of the time another's, and guesses whether the two belong "
        "together; needs a model with segment embeddings, such as BERT",
        False,
    )

    def __post_init__(self) -> None:
        check_range(self, "held_out", low=0)
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; allowed: above 0, below 1")


class MaskedLanguageModel(nn.Module):
    """A transformer under a head for words: a dense layer, a norm, and the word embeddings as the last layer; beside it one for pairs,
    which reads the first token.

    Args:
        transformer: of the BERT family.
        judges_pairs: whether there is a head for pairs.

    Source: BERT, Devlin et al., NAACL 2019, section 3.1, doi:10.18653/v1/N19-1423; tied weights: Press and Wolf, EACL 2017.
    """

    def __init__(self, transformer: Any, *, judges_pairs: bool) -> None:
        super().__init__()
        self.transformer = transformer
        self.words = transformer.get_input_embeddings()
        num_words, width = self.words.weight.shape
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(num_words))
        self.pair_head: nn.Module | None = None
        if judges_pairs:
            self.pair_head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, wanted: torch.Tensor, **pairs: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Per example the summed loss of its hidden tokens, how many there are, and how many were guessed; the same of its pair.

        Args:
            ids: int64 [b, T].
            mask: int64 [b, T].
            wanted: int64 [b, T], the hidden tokens, NOT_ASKED elsewhere.
            pairs: `segments` int64 [b, T], 1 in second texts, and `follows` int64 [b], as in `Shown`; given where it judges pairs.
        """
        segments = {"token_type_ids": pairs["segments"]} if pairs else {}
        states_bTD = self.transformer(input_ids=ids, attention_mask=mask, **segments).last_hidden_state
        asked_bT = wanted != IGNORE_INDEX
        guesses_nV = F.linear(self.norm(F.gelu(self.dense(states_bTD[asked_bT]))), self.words.weight, self.bias)
        losses_n = F.cross_entropy(guesses_nV.float(), wanted[asked_bT], reduction="none")
        right_n = (guesses_nV.argmax(dim=1) == wanted[asked_bT]).to(losses_n.dtype)
        row_n = asked_bT.nonzero()[:, 0]
        empty_b = losses_n.new_zeros(len(ids))
        found = {
            "losses": empty_b.index_add(0, row_n, losses_n),
            "right": empty_b.index_add(0, row_n, right_n),
            "counts": asked_bT.sum(dim=1),
        }
        if self.pair_head is None:
            return found
        follows_b, guesses_b2 = pairs["follows"], self.pair_head(states_bTD[:, 0]).float()
        return found | {
            "pair_losses": F.cross_entropy(guesses_b2, follows_b, reduction="none", ignore_index=IGNORE_INDEX),
            "pair_right": (guesses_b2.argmax(dim=1) == follows_b).to(losses_n.dtype),
            "pair_counts": (follows_b != IGNORE_INDEX).to(losses_n.dtype),
        }


class MaskedLanguageModelTask:
    """`Learner` that hides words of catalog texts, and of pairs of them, whose second text it may exchange.

    Args:
        encoder: whose transformer is trained in place.
        texts: of the catalog; repeated ones count once.
        mask_id: the token that stands for a hidden one.
        config: how words are hidden.
        pairs: texts with the one that follows each; read where the config asks for next sentences.
        seed: of what is hidden and exchanged.

    Raises:
        ConfigError: no text is left to learn from, the tower is not a transformer of BERT's kind alone, or next sentences are asked for and
            it has no segments, reads too few tokens, or there are not two different texts to follow.
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
        if not isinstance(encoder.tower, TextTower) or _sees_only_the_past(encoder.tower.transformer):
            raise ConfigError(
                "masked words need a tower of the BERT family that is no side of a CLIP model and sees both sides of a word; leave them "
                "out, or take another tower"
            )
        self._module = MaskedLanguageModel(encoder.tower.transformer, judges_pairs=config.next_sentence)
        self._encoder, self._mask_id, self._seed, self._config = encoder, mask_id, seed, config
        found: list[_Example] = [(ids, None) for (ids,) in _with_words(encoder, [(text,) for text in texts])]
        if config.next_sentence:
            num_segments = getattr(encoder.tower.transformer.config, "type_vocab_size", 0)
            _refuse_without_segments(encoder.config, num_segments)
            found += [(first, second) for first, second in _with_words(encoder, pairs)]
        firsts = list(
            dict.fromkeys(first for first, _ in found)
        )  # the pairs of one title, and a text equal to it, are on one side
        num_held = min(config.held_out, len(firsts))
        held = {firsts[n * len(firsts) // num_held] for n in range(num_held)}
        self._held_out = [one for one in found if one[0] in held]
        self._examples = [one for one in found if one[0] not in held]
        self._seconds, self._held_seconds = _seconds_of(self._examples), _seconds_of(self._held_out)
        if not self._examples:
            raise ConfigError(f"{len(found)} texts with words, {config.held_out} held out: none is left to learn from")
        if config.next_sentence and len(self._seconds) < 2:
            raise ConfigError(
                f"next_sentence needs products with a title and a description, two of which differ; found {len(self._seconds)} to learn "
                "from; set it to false"
            )

    @property
    def module(self) -> nn.Module:
        """A `GuessingTower`."""
        return self._module

    @property
    def num_examples(self) -> int:
        """Texts, and pairs of them."""
        return len(self._examples)

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Texts with hidden words, and the words; pairs as they are shown this time."""
        rngs = [np.random.default_rng((self._seed, step, int(row))) for row in rows_b]
        return self._hidden([self._examples[row] for row in rows_b], self._seconds, rngs)

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """Cross-entropy, the mean over all hidden words of the batch; plus that of the pairs, the mean over them."""
        words = outputs["losses"].sum() / outputs["counts"].sum().clamp(min=1)
        if "pair_losses" not in outputs:
            return words
        return words + outputs["pair_losses"].sum() / outputs["pair_counts"].sum().clamp(min=1)

    def measure(self) -> Mapping[str, float]:
        """On what is held out, with the same words hidden and texts exchanged every time: minus the loss of the words, the share of words
        that are guessed, and that of the pairs.
        """
        if not self._held_out:
            return {}
        device = self._module.bias.device
        sums: Counter[str] = Counter()
        for start in range(0, len(self._held_out), _MEASURED_TOGETHER):
            some = self._held_out[start : start + _MEASURED_TOGETHER]
            rngs = [np.random.default_rng((self._seed, -1 % (1 << 32), start + n)) for n in range(len(some))]
            given = self._hidden(some, self._held_seconds, rngs)
            found = self._module(**{name: tensor.to(device) for name, tensor in given.items()})
            sums.update({name: float(tensor.sum()) for name, tensor in found.items()})
        figures = {"minus_loss": -sums["losses"] / sums["counts"], "guessed": sums["right"] / sums["counts"]}
        return figures | ({"paired": sums["pair_right"] / sums["pair_counts"]} if sums["pair_counts"] else {})

    def _hidden(
        self, examples: Sequence[_Example], seconds: Sequence[Tokens], rngs: Sequence[np.random.Generator]
    ) -> dict[str, torch.Tensor]:
        most = self._encoder.config.max_tokens
        shown = [build_input(*one, seconds, most, rng) for one, rng in zip(examples, rngs, strict=True)]
        ids_bT, mask_bT = pad([one.ids for one in shown], self._encoder.pad_id)
        wanted_bT, segments_bT = np.full_like(ids_bT, IGNORE_INDEX), np.zeros_like(ids_bT)
        num_words = self._module.words.weight.shape[0]
        for i, (one, rng) in enumerate(zip(shown, rngs, strict=True)):
            segments_bT[i, one.second_from : len(one.ids)] = 1
            _hide(ids_bT[i], wanted_bT[i], one, rng, self._config.share, self._mask_id, num_words)
        arrays = {"ids": ids_bT, "mask": mask_bT, "wanted": wanted_bT}
        if self._config.next_sentence:
            arrays |= {"segments": segments_bT, "follows": np.array([one.follows for one in shown])}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


_MEASURED_TOGETHER = 32


def _with_words(encoder: TorchTextEncoder, texts: Sequence[tuple[str, ...]]) -> list[tuple[Tokens, ...]]:
    """The different ones in order, each text between its marks; those of marks alone are left out."""
    read = sorted(set(texts))
    ids = iter(encoder.tokenizer.ids([text for texts in read for text in texts]))
    tokens = [tuple(tuple(next(ids)) for _ in texts) for texts in read]
    return [one for one in tokens if all(len(text) > 2 for text in one)]


def _seconds_of(examples: Sequence[_Example]) -> list[Tokens]:
    return sorted({second for _, second in examples if second is not None})


def _refuse_without_segments(config: TextEncoderConfig, num_segments: int) -> None:
    if num_segments < 2:
        raise ConfigError(
            f"next_sentence tells two texts apart by segment embeddings, and {config.model!r} has none; set it to false"
        )
    if config.max_tokens < MIN_PAIR_TOKENS:
        raise ConfigError(
            f"max_tokens is {config.max_tokens}; next_sentence reads two texts, which takes {MIN_PAIR_TOKENS} or more"
        )


def _hide(
    ids_T: NDArray[np.int64],
    wanted_T: NDArray[np.int64],
    shown: Shown,
    rng: np.random.Generator,
    share: float,
    mask_id: int,
    num_words: int,
) -> None:
    """In place; the model's marks stay."""
    words = shown.words
    count = max(1, round(share * len(words)))
    places = words[rng.choice(len(words), size=count, replace=False)]
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
