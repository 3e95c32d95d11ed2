"""Generate judged queries from the truth: a text, a new image, or both, in English and Chinese, as people type them.

A query lists the attributes that it requires, so its gains follow from the truth (`truth.gains`). A text query has a
text that no other query has (with an image, only the pair is unique), so that no validation or test query occurs in
training or in the event log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from intarsia.records.judgment import QueryKind, Split
from intarsia.simulator.assortment import CATEGORIES, CATEGORY_INDEX, Category
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.drawing import Appearance
from intarsia.simulator.random_streams import choose, stream
from intarsia.simulator.truth import MarketTruth, gains
from intarsia.simulator.vocabulary import (
    ATTRIBUTE_INDEX,
    ATTRIBUTES,
    COLOURS,
    EVERYONE,
    TYPO_ZH,
    Language,
    possessive,
    synonym,
    to_traditional,
)

KIND_CYCLE: tuple[QueryKind, ...] = ("text", "image", "text", "both", "text")
SPLIT_CYCLE: tuple[Split, ...] = ("train", "validation", "train", "test", "train")

MAX_POSITIVE_SHARE = 0.1  # of the catalog: a query that more products match separates rankers poorly
_MIN_POSITIVES_ALLOWED = 20  # in catalogs so small that a tenth is less than that
_NUM_ATTEMPTS = 60
_NUM_EXPLICIT_ZEROS = 10
_ATTRIBUTE_SHARES = {"colour": 0.5, "material": 0.45, "audience": 0.4, "style": 0.3, "brand": 0.22, "pattern": 0.2}
_NUM_ATTRIBUTES_SHARES = (0.35, 0.45, 0.2)  # one, two, three attributes
_SHARE_OVERRIDES_COLOUR = 0.4  # of the queries with text and image; the others add an attribute that no image shows
_SHARE_TYPO, _SHARE_TRADITIONAL = 0.07, 0.12
_MIN_TYPO_WORD = 5  # shorter English words have no typing errors

TypedText = tuple[str, tuple[str, ...]]
"""A text, and how it was changed: typo, traditional."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedQuery:
    """One judged query with its truth.

    Attributes:
        query_id: q00000, ...
        kind: the parts that the query has.
        locale: language of the text.
        split: train, validation or test.
        text: the text; None for an image query.
        appearance: what the image shows; None without an image. When the text overrides the colour, the image shows
            another colour than the required one.
        category: key of the required category.
        required: attribute -> key of the value that a product must have.
        traits: how the text was changed: typo, traditional.
    """

    query_id: str
    kind: QueryKind
    locale: Language
    split: Split
    text: str | None
    appearance: Appearance | None
    category: str
    required: dict[str, str]
    traits: tuple[str, ...]


def compose_queries(config: MarketConfig, truth: MarketTruth) -> Iterator[tuple[GeneratedQuery, NDArray[np.int8]]]:
    """Yield every query with its gains int8 [N]; the product that a query was made from has gain 3."""
    splits = _splits(config)
    seen: set[str] = set()
    for number in range(config.num_queries):
        rng = stream(config.seed, "query", number)
        kind = KIND_CYCLE[number % len(KIND_CYCLE)]
        yield _compose_query(truth, rng, number, kind, splits[number], seen)


def judged_products(gain_N: NDArray[np.int8], seed: int, number: int) -> list[tuple[int, int]]:
    """(product, gain) of every positive, best first, ties by product number, then of a few products with gain 0."""
    positive = np.flatnonzero(gain_N)
    ranked = positive[np.argsort(-gain_N[positive], kind="stable")]
    rest = np.flatnonzero(gain_N == 0)
    zeros = np.sort(stream(seed, "zeros", number).choice(rest, min(_NUM_EXPLICIT_ZEROS, len(rest)), replace=False))
    return [(int(i), int(gain_N[i])) for i in (*ranked, *zeros)]


def _splits(config: MarketConfig) -> list[Split]:
    """Random splits, 60/20/20 within each kind."""
    splits: list[Split] = ["train"] * config.num_queries
    for kind in dict.fromkeys(KIND_CYCLE):
        numbers = [n for n in range(config.num_queries) if KIND_CYCLE[n % len(KIND_CYCLE)] == kind]
        permutation = stream(config.seed, f"split {kind}").permutation(len(numbers))
        for number, position in zip(numbers, permutation, strict=True):
            splits[number] = SPLIT_CYCLE[int(position) % len(SPLIT_CYCLE)]
    return splits


def _compose_query(
    truth: MarketTruth, rng: np.random.Generator, number: int, kind: QueryKind, split: Split, seen: set[str]
) -> tuple[GeneratedQuery, NDArray[np.int8]]:
    """Draw until the text is new and few enough products match; in a tiny market keep the narrowest new query."""
    max_positives = max(MAX_POSITIVE_SHARE * truth.num_products, _MIN_POSITIVES_ALLOWED)
    best: tuple[GeneratedQuery, NDArray[np.int8]] | None = None
    for _ in range(_NUM_ATTEMPTS):
        query = _draw_query(truth, rng, number, kind, split)
        if _uniqueness_key(query) in seen:
            continue
        gain_N = gains(truth, query.category, query.required)
        if best is None or np.count_nonzero(gain_N) < np.count_nonzero(best[1]):
            best = query, gain_N
        if np.count_nonzero(gain_N) <= max_positives:
            best = query, gain_N
            break
    if best is None:  # a market of few products repeats its queries: append the number to make the text unique
        query = _draw_query(truth, rng, number, kind, split)
        query = replace(query, text=f"{query.text} {number}")
        best = query, gains(truth, query.category, query.required)
    seen.add(_uniqueness_key(best[0]))
    return best


def _uniqueness_key(query: GeneratedQuery) -> str:
    """What no other query may repeat: the text of a text query, else the query id."""
    return query.text.lower() if query.kind == "text" and query.text else query.query_id


def _draw_query(
    truth: MarketTruth, rng: np.random.Generator, number: int, kind: QueryKind, split: Split
) -> GeneratedQuery:
    """Draw a product, and a query in its language that it matches with gain 3."""
    target = int(rng.integers(truth.num_products))
    target_keys = truth.attribute_keys(target)
    category = target_keys.pop("category")
    leaf = CATEGORIES[CATEGORY_INDEX[category]]
    locale: Language = "zh" if truth.is_zh[target] else "en"
    text: str | None = None
    traits: tuple[str, ...] = ()
    appearance: Appearance | None = None
    if kind == "text":
        required = _draw_attributes(target_keys, rng)
        text, traits = search_text(leaf, required, locale, rng)
    else:
        required = {name: target_keys[name] for name in ("colour", "pattern")}
        shown = dict(required)
        if kind == "both":
            name, key = _draw_image_query_attribute(target_keys, rng)
            if name == "colour":
                shown["colour"] = choose(rng, [c.key for c in COLOURS if c.key != target_keys["colour"]])
            required[name] = key
            text, traits = image_query_text(leaf, name, key, locale, rng)
        # instances of products count from 0, so a query shows an instance of its own
        appearance = Appearance(
            category=category, colour=shown["colour"], pattern=shown["pattern"], instance=1_000_000 + number
        )
    return GeneratedQuery(
        query_id=f"q{number:05d}",
        kind=kind,
        locale=locale,
        split=split,
        text=text,
        appearance=appearance,
        category=category,
        required=required,
        traits=traits,
    )


def _draw_attributes(target_keys: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """One to three attributes of the target; never the audience `everyone`, seldom the pattern plain."""
    shares = dict(_ATTRIBUTE_SHARES)
    if target_keys["audience"] == EVERYONE:
        del shares["audience"]
    if target_keys["pattern"] == "plain":
        shares["pattern"] *= 0.15
    names = list(shares)
    chance = np.array(list(shares.values()))
    num = 1 + int(rng.choice(len(_NUM_ATTRIBUTES_SHARES), p=_NUM_ATTRIBUTES_SHARES))
    chosen = set(rng.choice(len(names), num, replace=False, p=chance / chance.sum()).tolist())
    return {name: target_keys[name] for name in ATTRIBUTES if name in names and names.index(name) in chosen}


def _draw_image_query_attribute(target_keys: dict[str, str], rng: np.random.Generator) -> tuple[str, str]:
    """(name, key) of the attribute that the text with an image names: another colour, or one that no image shows."""
    if rng.random() < _SHARE_OVERRIDES_COLOUR:
        return "colour", target_keys["colour"]
    options = [name for name in ("material", "style", "audience") if target_keys[name] != EVERYONE]
    name = choose(rng, options)
    return name, target_keys[name]


def search_text(leaf: Category, required: Mapping[str, str], locale: Language, rng: np.random.Generator) -> TypedText:
    """A text query for a category with some attributes (name -> key), as typed into a search box."""
    noun = synonym(rng, leaf.words(locale))
    words = {name: _attribute_word(name, key, locale, rng) for name, key in required.items()}
    text = _search_zh(noun, words, rng) if locale == "zh" else _search_en(noun, words, rng)
    return _as_typed(text, locale, rng)


def image_query_text(leaf: Category, name: str, key: str, locale: Language, rng: np.random.Generator) -> TypedText:
    """The text of a query with an image; it names one attribute."""
    value, word = _attribute_word(name, key, locale, rng), synonym(rng, leaf.words(locale))
    templates = _IMAGE_QUERIES_ZH[name] if locale == "zh" else _IMAGE_QUERIES_EN[name]
    return _as_typed(choose(rng, templates).format(value=value, word=word), locale, rng)


_IMAGE_QUERIES_EN = {
    "colour": ("this in {value}", "same {word} but {value}", "like this, {value}", "{value} one like this"),
    "material": ("like this but in {value}", "same {word} made of {value}", "this in {value}", "{value} version"),
    "style": ("like this but more {value}", "similar {word}, {value} style", "{value} {word} like this"),
    "audience": ("like this for {value}", "same {word} for {value}", "this but for {value}"),
}
_IMAGE_QUERIES_ZH = {
    "colour": ("同款 {value}", "同款{word} {value}", "这款有{value}吗", "类似的{value}{word}"),
    "material": ("同款 {value}", "类似 {value}材质", "{value}的同款{word}", "要{value}的"),
    "style": ("同款 {value}风格", "类似的 {value}一点", "{value}风格的{word}"),
    "audience": ("同款 {value}", "类似的{value}{word}", "有没有{value}的"),
}


def _attribute_word(name: str, key: str, locale: Language, rng: np.random.Generator) -> str:
    return synonym(rng, ATTRIBUTES[name][ATTRIBUTE_INDEX[name][key]].words(locale))


def _search_en(noun: str, words: dict[str, str], rng: np.random.Generator) -> str:
    audience, brand = words.pop("audience", ""), words.pop("brand", "")
    values = list(words.values())
    rng.shuffle(values)
    order = rng.random()
    if order < 0.55:
        owner = possessive(audience) if audience not in ("", "unisex") and rng.random() < 0.5 else audience
        parts = [brand, owner, *values, noun]
    elif order < 0.8:
        parts = [brand, *values, noun, f"for {audience}" if audience else ""]
    else:
        parts = [noun, *values, audience, brand]
    text = " ".join(part for part in parts if part)
    if brand:
        return text.lower() if rng.random() < 0.6 else text
    return choose(rng, ("{}", "{}", "{}", "{}", "looking for {}", "{} cheap")).format(text)


def _search_zh(noun: str, words: dict[str, str], rng: np.random.Generator) -> str:
    values = list(words.values())
    rng.shuffle(values)
    order = rng.random()
    if order < 0.45:
        return "".join((*values, noun))
    if order < 0.8:
        return " ".join((*values, noun))
    if order < 0.92:
        return " ".join((noun, *values))
    return f"{''.join(values)}的{noun}"


def _as_typed(text: str, locale: Language, rng: np.random.Generator) -> TypedText:
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
    """Swap, drop or double a letter in one of the longer words."""
    words = text.split(" ")
    long_words = [number for number, word in enumerate(words) if len(word) >= _MIN_TYPO_WORD]
    if not long_words:
        return text
    number = choose(rng, long_words)
    word, i = words[number], int(rng.integers(1, len(words[number]) - 2))
    words[number] = choose(
        rng,
        (
            word[:i] + word[i + 1] + word[i] + word[i + 2 :],
            word[:i] + word[i + 1 :],
            word[:i] + word[i] + word[i:],
        ),
    )
    return " ".join(words)
