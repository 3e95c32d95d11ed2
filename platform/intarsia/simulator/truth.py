"""The truth of a market as columns: the attributes of every product, and its gain for a query.

Letters: N products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.simulator.assortment import CATEGORIES, CATEGORY_INDEX, DEPARTMENTS
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.random_streams import stream
from intarsia.simulator.vocabulary import (
    ATTRIBUTE_INDEX,
    ATTRIBUTES,
    COLOURS,
    NUM_EN_BRANDS,
    PATTERNS,
    STYLES,
    Value,
)

IntColumn = NDArray[np.int32]
BAD_IMAGE_KINDS = (
    ("truncated", "placeholder", "empty_file", "placeholder", "missing_file", "placeholder")
    + ("bomb", "placeholder", "not_an_image", "placeholder", "outside_folder", "placeholder")
)  # fmt: skip
"""Defects of an image, used in turn. Every second one is the placeholder, since it is recognised by being shared."""

_SHARE_BRAND_OF_LANGUAGE = 0.8  # of the products have a brand of their own language
_NUM_IMAGES_SHARES = (0.25, 0.5, 0.25)  # one, two, three images: two on average
_POPULARITY_SIGMA = 1.2  # of the log-normal distribution: the top tenth of the products gets about half of all interest


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketTruth:
    """One row per valid product; attribute columns hold indices of the tuples in `vocabulary` and `assortment`.

    Attributes:
        category, brand, colour, pattern, material, style, audience: int32 [N].
        is_zh: bool [N], the listing is in Chinese.
        colour_in_text: bool [N], the text or a raw column names the colour; otherwise only the images show it.
        num_images: int32 [N], 0 to 3.
        bad_image: int32 [N], index in BAD_IMAGE_KINDS of the defect of the first image, -1 for none.
        duplicate_of: int32 [N], the product that this one is a near-duplicate of, -1 for none.
        image_of: int32 [N], the product that the images show: itself, or another one in a contradicting market.
        popularity: float64 [N], log-normal, mean interest of shoppers; independent of the attributes.
        appeal: float64 [N], rank of the popularity mapped to 0 (least) .. 1 (most).
    """

    category: IntColumn
    brand: IntColumn
    colour: IntColumn
    pattern: IntColumn
    material: IntColumn
    style: IntColumn
    audience: IntColumn
    is_zh: NDArray[np.bool_]
    colour_in_text: NDArray[np.bool_]
    num_images: IntColumn
    bad_image: IntColumn
    duplicate_of: IntColumn
    image_of: IntColumn
    popularity: NDArray[np.float64]
    appeal: NDArray[np.float64]

    @property
    def num_products(self) -> int:
        """Number of products N."""
        return len(self.category)

    def column(self, attribute: str) -> IntColumn:
        """The column of an attribute of `vocabulary.ATTRIBUTES`."""
        values: IntColumn = getattr(self, attribute)
        return values

    def attribute_keys(self, i: int) -> dict[str, str]:
        """Category and attributes of product i as keys, as in the truth file."""
        keys = {name: values[int(self.column(name)[i])].key for name, values in ATTRIBUTES.items()}
        return {"category": CATEGORIES[int(self.category[i])].key, **keys}


def product_id(i: int) -> str:
    """The id of product i in the files of the shop."""
    return f"P{i:06d}"


def draw_truth(config: MarketConfig) -> MarketTruth:
    """Draw the truth; shares of defects are exact (rounded), and no product has two defects."""
    num, rng = config.num_products, stream(config.seed, "truth")
    category = _draw(rng, num, [leaf.weight for leaf in CATEGORIES])
    is_zh = rng.permutation(num) % 2 == 1
    columns: dict[str, NDArray[np.generic]] = {
        "category": category,
        "brand": _draw_brands(rng, category, is_zh),
        "colour": _draw(rng, num, _weights(COLOURS)),
        "pattern": _draw(rng, num, _weights(PATTERNS)),
        "material": _draw_allowed(rng, category, [leaf.materials for leaf in CATEGORIES], "material"),
        "style": _draw(rng, num, _weights(STYLES)),
        "audience": _draw_allowed(rng, category, [leaf.audiences for leaf in CATEGORIES], "audience"),
        "is_zh": is_zh,
        "colour_in_text": rng.permutation(num) % 2 == 0,
        "num_images": rng.choice(3, num, p=_NUM_IMAGES_SHARES).astype(np.int32) + 1,
        "bad_image": np.full(num, -1, np.int32),
        "duplicate_of": np.full(num, -1, np.int32),
        "popularity": rng.lognormal(0.0, _POPULARITY_SIGMA, num),
    }
    _plan_defects(rng, config, columns)
    columns["image_of"] = _draw_image_of(rng, config, category)
    columns["appeal"] = np.argsort(np.argsort(columns["popularity"])) / max(num - 1, 1)
    for column in columns.values():
        column.setflags(write=False)
    return MarketTruth(**columns)  # type: ignore[arg-type]  # the names and types are those of the fields, see above


def gains(truth: MarketTruth, category: str, required: Mapping[str, str]) -> NDArray[np.int8]:
    """Gain of every product for a query that requires a category and some attributes.

    3: the category and all attributes. 2: the category and at least half of the attributes. 1: the category, or all
    attributes in a sibling category (one with the same parent). 0: otherwise. Language, popularity and price do not
    matter.

    Args:
        truth: truth of the market.
        category: key of a leaf category.
        required: attribute name -> key of the required value; at least one.

    Returns:
        int8 [N], 0..3.
    """
    assert required, "a query requires at least one attribute"
    leaf = CATEGORY_INDEX[category]
    same_N = truth.category == leaf
    related_N = np.isin(truth.category, _siblings(leaf))
    matched_N = np.zeros(truth.num_products, np.int32)
    for name, key in required.items():
        matched_N += truth.column(name) == ATTRIBUTE_INDEX[name][key]
    all_N, most_N = matched_N == len(required), (2 * matched_N >= len(required)) & (matched_N > 0)
    gain_N = np.where(same_N, np.where(all_N, 3, np.where(most_N, 2, 1)), np.where(related_N & all_N, 1, 0))
    return gain_N.astype(np.int8)


def _siblings(leaf_number: int) -> list[int]:
    parents = CATEGORIES[leaf_number].parents
    return [number for number, leaf in enumerate(CATEGORIES) if leaf.parents == parents and number != leaf_number]


def _weights(values: tuple[Value, ...]) -> list[float]:
    return [value.weight for value in values]


def _draw(rng: np.random.Generator, num: int, weights: list[float]) -> IntColumn:
    shares = np.asarray(weights) / np.sum(weights)
    return rng.choice(len(weights), num, p=shares).astype(np.int32)


def _draw_allowed(
    rng: np.random.Generator, category_N: IntColumn, allowed: list[tuple[str, ...]], attribute: str
) -> IntColumn:
    """Draw for each product one of the values that its category allows, by their weights."""
    index, values = ATTRIBUTE_INDEX[attribute], ATTRIBUTES[attribute]
    column = np.zeros(len(category_N), np.int32)
    for number, keys in enumerate(allowed):
        in_category = np.flatnonzero(category_N == number)
        numbers = np.array([index[key] for key in keys], np.int32)
        column[in_category] = numbers[_draw(rng, len(in_category), [values[n].weight for n in numbers])]
    return column


def _draw_brands(rng: np.random.Generator, category_N: IntColumn, is_zh_N: NDArray[np.bool_]) -> IntColumn:
    """Draw brands from a Zipf distribution, shifted per department so that each has its own top brands."""
    same_language = rng.random(len(category_N)) < _SHARE_BRAND_OF_LANGUAGE
    chinese_brand = is_zh_N == same_language
    shift = np.array([3 * DEPARTMENTS.index(leaf.parents[0]) for leaf in CATEGORIES], np.int32)[category_N]
    rank = _draw(rng, len(category_N), [1 / (1 + r) ** 0.7 for r in range(NUM_EN_BRANDS)])
    number = (rank + shift) % NUM_EN_BRANDS
    return np.where(chinese_brand, number + NUM_EN_BRANDS, number).astype(np.int32)


def _plan_defects(rng: np.random.Generator, config: MarketConfig, columns: dict[str, NDArray[np.generic]]) -> None:
    """Write into the columns which products have no image or a bad one, and which are near-duplicates of which."""
    num, order = config.num_products, rng.permutation(config.num_products)
    cuts = np.cumsum(
        [round(num * s) for s in (config.share_without_image, config.share_bad_image, config.share_near_duplicates)]
    )
    without_image, bad_image, duplicates, valid = np.split(order, cuts)
    columns["num_images"][without_image] = 0
    columns["bad_image"][bad_image] = np.arange(len(bad_image)) % len(BAD_IMAGE_KINDS)
    if not len(valid):
        return
    sources = valid[rng.integers(len(valid), size=len(duplicates))]
    columns["duplicate_of"][duplicates] = sources
    for name in (*ATTRIBUTES, "category", "is_zh", "colour_in_text", "num_images"):
        columns[name][duplicates] = columns[name][sources]


def _draw_image_of(rng: np.random.Generator, config: MarketConfig, category_N: IntColumn) -> IntColumn:
    """Which product the images show: itself, or in a contradicting market one of another category where possible."""
    own = np.arange(config.num_products, dtype=np.int32)
    if config.images != "contradict":
        return own
    other = rng.permutation(config.num_products).astype(np.int32)
    for i in np.flatnonzero(category_N[other] == category_N):
        options = np.flatnonzero(category_N != category_N[i])
        if len(options):
            other[i] = options[rng.integers(len(options))]
    return other
