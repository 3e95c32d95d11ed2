"""The same text said otherwise: words replaced, dropped, or gone through another language and back.

Every choice is a function of the seeds that are given, so that it does not depend on who asks when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.config import check_range, setting
from intarsia.errors import ArtifactError
from intarsia.text import unstemmed_words

_COLOURS = (
    "black white red blue green yellow orange pink purple grey gray brown beige navy gold silver maroon khaki cream teal turquoise",
    "黑 黑色 白 白色 红 红色 蓝 蓝色 绿 绿色 黄 黄色 橙色 粉色 粉红 紫 紫色 灰 灰色 棕色 米色 金色 银色",
)
COLOUR_WORDS = frozenset(word for line in _COLOURS for word in line.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How texts are changed while a tower learns; all 0 leaves them as they are."""

    replace_words: float = setting("share of a text's words that are replaced by random words of the catalog", 0.0)
    delete_words: float = setting("share of a text's words that are left out; one always stays", 0.0)
    drop_named: float = setting("share of the texts that lose their colour words and their brand", 0.0)
    back_translated: float = setting(
        "share of the texts that are read in their back-translation; 0 translates nothing", 0.0
    )
    translate_out: str = setting(
        "seq2seq model, by hub name or folder, into the other language; needed when back_translated is not 0", ""
    )
    translate_back: str = setting("seq2seq model, by hub name or folder, back from it", "")

    def __post_init__(self) -> None:
        check_range(self, "replace_words", "delete_words", "drop_named", "back_translated", low=0.0, high=1.0)
        if self.back_translated and not (self.translate_out and self.translate_back):
            raise ValueError(
                f"back_translated is {self.back_translated}, and no models are named; set translate_out and translate_back, or 0"
            )


class Augment:
    """Changes texts.

    Args:
        config: how much.
        vocabulary: words that may stand in for others, such as those of the catalog's titles.
        brands: names that `drop_named` removes beside the colours.
        said_otherwise: a text to its back-translation.
    """

    def __init__(
        self,
        config: AugmentConfig,
        vocabulary: Sequence[str] = (),
        brands: Sequence[str] = (),
        paraphrase: dict[str, str] | None = None,
    ) -> None:
        self._config = config
        self._vocabulary = list(vocabulary)
        self._named = COLOUR_WORDS | {word for brand in brands for word in unstemmed_words(brand)}
        self._said_otherwise = paraphrase or {}
        changes = (config.replace_words, config.delete_words, config.drop_named, config.back_translated)
        self.is_off = not any(changes)

    def __call__(self, text: str, *seeds: int) -> str:
        """The text as it is shown this time; the same for the same seeds. Chinese runs without spaces count as one word."""
        if self.is_off:
            return text
        config, rng = self._config, np.random.default_rng(seeds)
        chance_named, chance_translated = rng.random(2)
        if chance_translated < config.back_translated:
            text = self._said_otherwise.get(text, text)
        words = text.split()
        if chance_named < config.drop_named:
            words = [word for word in words if not self._is_named(word)] or words
        if config.delete_words and words:
            kept = [
                word
                for word, chance in zip(words, rng.random(len(words)), strict=True)
                if chance >= config.delete_words
            ]
            words = kept or [words[int(rng.integers(len(words)))]]
        if config.replace_words and self._vocabulary:
            swapped = rng.random(len(words)) < config.replace_words
            words = [
                self._vocabulary[int(rng.integers(len(self._vocabulary)))] if swap else word
                for word, swap in zip(words, swapped, strict=True)
            ]
        return " ".join(words)

    def _is_named(self, word: str) -> bool:
        parts = unstemmed_words(word)
        return bool(parts) and all(part in self._named for part in parts)


def back_translate(
    texts: Sequence[str], out_model: str, back_model: str, *, batch_size: int = 16, max_tokens: int = 128
) -> dict[str, str]:
    """Each text in the words of a translation there and back; greedy, so that it is the same in every run.

    Args:
        texts: what is translated; one of which a model makes nothing stays as it is.
        out_model: a seq2seq model of `transformers` by hub name or folder, into another language.
        back_model: one from that language back.
        batch_size: texts per pass.
        max_tokens: of a translation.

    Raises:
        ArtifactError: a model cannot be loaded.

    Source: Sennrich, Haddow and Birch, ACL 2016, section 3.1, doi:10.18653/v1/P16-1009
    """
    there = _translate(texts, out_model, batch_size, max_tokens)
    said = [text for text in there if text]
    back = dict(zip(said, _translate(said, back_model, batch_size, max_tokens), strict=True))
    return {text: back.get(abroad) or text for text, abroad in zip(texts, there, strict=True)}


def _translate(texts: Sequence[str], name: str, batch_size: int, max_tokens: int) -> list[str]:
    import torch
    import transformers

    from intarsia.encoders.pretrained import quiet_transformers

    try:
        with quiet_transformers():
            model = transformers.AutoModelForSeq2SeqLM.from_pretrained(name).eval()
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"translation model {name!r} cannot be loaded: {said}. Set translate_out and translate_back to seq2seq models that this "
            "machine has, or back_translated to 0"
        ) from error
    found: list[str] = []
    for start in range(0, len(texts), batch_size):
        given = tokenizer(
            list(texts[start : start + batch_size]),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=max_tokens,
        )
        with torch.inference_mode():
            ids = model.generate(
                input_ids=given["input_ids"],
                attention_mask=given["attention_mask"],
                max_new_tokens=max_tokens,
                do_sample=False,
                num_beams=1,
            )
        found.extend(text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True))
    return found
