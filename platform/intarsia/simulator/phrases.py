"""How people put what they want into words: synonyms, word order, typing errors, traditional characters, remarks on a picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intarsia.simulator.assortment import Category
from intarsia.simulator.attribute_words import ATTRIBUTE_INDEX, ATTRIBUTES, TYPO_ZH, Locale
from intarsia.simulator.random_streams import owned_by, pick, pick_word
from intarsia.simulator.traditional import to_traditional

_SHARE_TYPO, _SHARE_TRADITIONAL = 0.07, 0.12
_MIN_TYPO_WORD = 5  # shorter English words are typed right

Phrase = tuple[str, tuple[str, ...]]
"""The text, and how it was changed: typo, traditional."""


def search_text(leaf: Category, asked: Mapping[str, str], locale: Locale, rng: np.random.Generator) -> Phrase:
    """A search for a category with some attributes (name -> key), as typed into a search box."""
    word = pick_word(rng, leaf.words(locale))
    said = {name: _word(name, key, locale, rng) for name, key in asked.items()}
    text = _search_zh(word, said, rng) if locale == "zh" else _search_en(word, said, rng)
    return _as_typed(text, locale, rng)


def photo_remark(leaf: Category, said: Mapping[str, str], locale: Locale, rng: np.random.Generator) -> Phrase:
    """What one writes beside a picture: the one thing (attribute -> key) that is to be different or that no picture shows."""
    ((name, key),) = said.items()
    value, word = _word(name, key, locale, rng), pick_word(rng, leaf.words(locale))
    patterns = _REMARKS_ZH[name] if locale == "zh" else _REMARKS_EN[name]
    return _as_typed(pick(rng, patterns).format(value=value, word=word), locale, rng)


_REMARKS_EN = {
    "colour": ("this in {value}", "same {word} but {value}", "like this, {value}", "{value} one like this"),
    "material": ("like this but in {value}", "same {word} made of {value}", "this in {value}", "{value} version"),
    "style": ("like this but more {value}", "similar {word}, {value} style", "{value} {word} like this"),
    "audience": ("like this for {value}", "same {word} for {value}", "this but for {value}"),
}
_REMARKS_ZH = {
    "colour": ("同款 {value}", "同款{word} {value}", "这款有{value}吗", "类似的{value}{word}"),
    "material": ("同款 {value}", "类似 {value}材质", "{value}的同款{word}", "要{value}的"),
    "style": ("同款 {value}风格", "类似的 {value}一点", "{value}风格的{word}"),
    "audience": ("同款 {value}", "类似的{value}{word}", "有没有{value}的"),
}


def _word(name: str, key: str, locale: Locale, rng: np.random.Generator) -> str:
    return pick_word(rng, ATTRIBUTES[name][ATTRIBUTE_INDEX[name][key]].words(locale))


def _search_en(word: str, said: dict[str, str], rng: np.random.Generator) -> str:
    audience, brand = said.pop("audience", ""), said.pop("brand", "")
    values = list(said.values())
    rng.shuffle(values)
    order = rng.random()
    if order < 0.55:
        owner = owned_by(audience) if audience not in ("", "unisex") and rng.random() < 0.5 else audience
        parts = [brand, owner, *values, word]
    elif order < 0.8:
        parts = [brand, *values, word, f"for {audience}" if audience else ""]
    else:
        parts = [word, *values, audience, brand]
    text = " ".join(part for part in parts if part)
    if brand:
        return text.lower() if rng.random() < 0.6 else text
    return pick(rng, ("{}", "{}", "{}", "{}", "looking for {}", "{} cheap")).format(text)


def _search_zh(word: str, said: dict[str, str], rng: np.random.Generator) -> str:
    values = list(said.values())
    rng.shuffle(values)
    order = rng.random()
    if order < 0.45:
        return "".join((*values, word))
    if order < 0.8:
        return " ".join((*values, word))
    if order < 0.92:
        return " ".join((word, *values))
    return f"{''.join(values)}的{word}"


def _as_typed(text: str, locale: Locale, rng: np.random.Generator) -> Phrase:
    traits: list[str] = []
    if rng.random() < _SHARE_TYPO:
        typed = text.translate(TYPO_ZH) if locale == "zh" else _typo_en(text, rng)
        if typed != text:
            text, traits = typed, ["typo"]
    if locale == "zh" and rng.random() < _SHARE_TRADITIONAL:
        converted = to_traditional(text)
        if converted != text:
            text = converted
            traits.append("traditional")
    return text, tuple(traits)


def _typo_en(text: str, rng: np.random.Generator) -> str:
    """Swaps, drops or doubles a letter inside one of the longer words."""
    words = text.split(" ")
    long_words = [number for number, word in enumerate(words) if len(word) >= _MIN_TYPO_WORD]
    if not long_words:
        return text
    number = pick(rng, long_words)
    word, at = words[number], int(rng.integers(1, len(words[number]) - 2))
    words[number] = pick(
        rng,
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        ),
    )
    return " ".join(words)
