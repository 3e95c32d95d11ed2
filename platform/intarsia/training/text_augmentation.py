"""Text augmentation: words replaced or deleted, colours and brands dropped, back-translation.

Every choice is a function of the given seeds, so it does not depend on the order of the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.config import check_range, setting
from intarsia.errors import ArtifactError
from intarsia.text import unstemmed_words

_COLOURS = (
    "black white red blue green yellow orange pink purple grey gray brown beige navy gold silver maroon khaki cream "
    "teal turquoise",
    "黑 黑色 白 白色 红 红色 蓝 蓝色 绿 绿色 黄 黄色 橙色 粉色 粉红 紫 紫色 灰 灰色 棕色 米色 金色 银色",
)
COLOUR_WORDS = frozenset(word for line in _COLOURS for word in line.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Text augmentation during training; all 0: no augmentation."""

    replace_words: float = setting(
        "share of the words of a text that are replaced by random words of the catalog", 0.0, advanced=True
    )
    delete_words: float = setting(
        "share of the words of a text that are deleted; one word always stays", 0.0, advanced=True
    )
    drop_named: float = setting("share of the texts that lose their colour words and their brand", 0.0, advanced=True)
    back_translated: float = setting(
        "share of the texts that are replaced by their back-translation", 0.0, advanced=True
    )
    translate_out: str = setting(
        "seq2seq model into the other language, hub name or folder; required if back_translated is above 0",
        "",
        advanced=True,
    )
    translate_back: str = setting("seq2seq model back from the other language, hub name or folder", "", advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "replace_words", "delete_words", "drop_named", "back_translated", low=0.0, high=1.0)
        if self.back_translated and not (self.translate_out and self.translate_back):
            raise ValueError(
                f"back_translated is {self.back_translated}, but there are no translation models; set translate_out "
                "and translate_back, or set back_translated to 0"
            )


class TextAugmenter:
    """Augments texts.

    Args:
        config: how much to change.
        vocabulary: replacement words, such as those of the catalog's titles.
        brands: brand names that `drop_named` removes besides colours.
        paraphrase: a text to its back-translation.
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
        self._paraphrase = paraphrase or {}
        changes = (config.replace_words, config.delete_words, config.drop_named, config.back_translated)
        self.is_off = not any(changes)

    def __call__(self, text: str, *seeds: int) -> str:
        """The augmented text; equal seeds give equal results. A Chinese text without spaces counts as one word.

        >>> TextAugmenter(AugmentConfig(drop_named=1.0))("red shoe", 0)
        'shoe'
        """
        if self.is_off:
            return text
        config, rng = self._config, np.random.default_rng(seeds)
        chance_named, chance_translated = rng.random(2)
        if chance_translated < config.back_translated:
            text = self._paraphrase.get(text, text)
        words = text.split()
        if chance_named < config.drop_named:
            words = [word for word in words if not self._is_named(word)] or words
        if config.delete_words and words:
            remaining = [
                word
                for word, chance in zip(words, rng.random(len(words)), strict=True)
                if chance >= config.delete_words
            ]
            words = remaining or [words[int(rng.integers(len(words)))]]
        if config.replace_words and self._vocabulary:
            is_replaced = rng.random(len(words)) < config.replace_words
            words = [
                self._vocabulary[int(rng.integers(len(self._vocabulary)))] if replace else word
                for word, replace in zip(words, is_replaced, strict=True)
            ]
        return " ".join(words)

    def _is_named(self, word: str) -> bool:
        parts = unstemmed_words(word)
        return bool(parts) and all(part in self._named for part in parts)


def back_translate(
    texts: Sequence[str], out_model: str, back_model: str, *, batch_size: int = 16, max_tokens: int = 128
) -> dict[str, str]:
    """Translate each text to another language and back; greedy, so every run gives the same result.

    Args:
        texts: a text whose translation is empty stays as it is.
        out_model: a seq2seq model of `transformers` into another language, hub name or folder.
        back_model: one from that language back.
        batch_size: texts per forward pass.
        max_tokens: largest number of tokens of a text and of a translation.

    Raises:
        ArtifactError: a model cannot be loaded.

    Source: Sennrich, Haddow and Birch, ACL 2016, section 3.1, doi:10.18653/v1/P16-1009
    """
    translations = _translate(texts, out_model, batch_size, max_tokens)
    translated = [text for text in translations if text]
    back = dict(zip(translated, _translate(translated, back_model, batch_size, max_tokens), strict=True))
    return {text: back.get(translation) or text for text, translation in zip(texts, translations, strict=True)}


def _translate(texts: Sequence[str], name: str, batch_size: int, max_tokens: int) -> list[str]:
    import torch
    import transformers

    from intarsia.encoders.pretrained import quiet_transformers

    try:
        with quiet_transformers():
            model = transformers.AutoModelForSeq2SeqLM.from_pretrained(name).eval()
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"translation model {name!r} cannot be loaded: {reason}. Set translate_out and translate_back to seq2seq "
            "models that this machine has, or back_translated to 0"
        ) from error
    translations: list[str] = []
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(
            list(texts[start : start + batch_size]),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=max_tokens,
        )
        with torch.inference_mode():
            ids = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_tokens,
                do_sample=False,
                num_beams=1,
            )
        translations.extend(text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True))
    return translations
