"""Where `finetune_text` takes its examples from: judged train queries, the catalog's fields, what shoppers clicked, what the tower is sure
of; and hard negatives.

Letters: N different texts of the catalog, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intarsia.config import check_range, setting
from intarsia.encoders.inputs import TextField, product_text
from intarsia.encoders.protocol import Encoder
from intarsia.errors import ConfigError
from intarsia.ids import ProductId
from intarsia.index.bm25 import Bm25Index
from intarsia.index.bm25_postings import Bm25Config
from intarsia.lake import Lake
from intarsia.records.judgment import Split
from intarsia.records.product import Product
from intarsia.tables.judgments import JUDGMENTS, QUERIES, row_to_judgment, row_to_query
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, row_to_product
from intarsia.text import unstemmed_words
from intarsia.training.clicks import ClicksConfig, read_click_examples
from intarsia.training.text_augmentation import AugmentConfig, back_translate
from intarsia.training.text_examples import (
    NO_GROUP,
    NegativesConfig,
    Search,
    TextExample,
    add_hard_negatives,
    field_examples,
    fit_confidence,
    judged_examples,
    pseudo_examples,
)
from intarsia.training.text_training_data import TextTrainingData

SourceName = Literal["judgments", "fields", "clicks", "pseudo"]
_FITS_FROM = 2.0  # grade of a judged text that a confidence counts as fitting


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesConfig:
    """Which examples there are."""

    use: tuple[SourceName, ...] = setting(
        "judgments (of train queries), fields (one field of a product as if it were asked, its text the answer), clicks (what shoppers "
        "took and passed over on the pages of the log), pseudo (texts that the tower is sure of for a judged query, though nobody judged "
        "them)",
        ("judgments",),
    )
    anchor_fields: tuple[TextField, ...] = setting("of fields: what is asked", ("category", "attributes"))
    field_weight: float = setting("of fields: weight against a judged example", 0.2)
    most_fields: int = setting("of fields: examples, drawn evenly from the catalog; 0 takes all", 4_000)
    clicks: ClicksConfig = setting("of clicks: which of them", factory=ClicksConfig)
    pseudo_confidence: float = setting("of pseudo: confidence from which a text counts, fitted on validation", 0.9)
    pseudo_per_query: int = setting("of pseudo: most texts of a query", 4)
    pseudo_weight: float = setting("of pseudo: weight against a judged example, times the confidence", 0.5)
    negatives: NegativesConfig = setting("hard negatives of every example", factory=NegativesConfig)

    def __post_init__(self) -> None:
        if not self.use:
            raise ValueError("use is empty; allowed: one or more of judgments, fields, clicks, pseudo")
        if "fields" in self.use and not self.anchor_fields:
            raise ValueError("anchor_fields is empty, and fields is used; allowed: at least one field")
        check_range(self, "most_fields", low=0)
        check_range(self, "pseudo_per_query", low=1)
        check_range(self, "pseudo_confidence", low=0.0, high=1.0)
        check_range(self, "field_weight", "pseudo_weight", low=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogTexts:
    """The products, without pictures, in the order of the table.

    `texts` are their different texts, `groups` the product group of one product of each.
    """

    products: Sequence[Product]
    text_of: dict[ProductId, str]
    group_of: dict[ProductId, str]
    texts: Sequence[str]
    groups: Sequence[str]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The different titles with their descriptions, of products that have both."""
        found = {(one.title, one.description) for one in self.products if one.title and one.description}
        return sorted(found)


def read_catalog(lake: Lake, fields: Sequence[TextField]) -> CatalogTexts:
    """The products of the lake as texts."""
    products: list[Product] = []
    group_of: dict[ProductId, str] = {}
    for batch in PRODUCTS.batches(lake.current("products"), COLUMNS_WITHOUT_IMAGE_BYTES):
        for row in batch.to_pylist():
            product = row_to_product(row)[0]
            products.append(product)
            if row["duplicate_group"]:
                group_of[product.product_id] = row["duplicate_group"]
    text_of = {product.product_id: product_text(product, fields) for product in products}
    first: dict[str, str] = {}
    for product in products:
        first.setdefault(text_of[product.product_id], group_of.get(product.product_id, NO_GROUP))
    texts = sorted(text for text in first if text)
    return CatalogTexts(
        products=products, text_of=text_of, group_of=group_of, texts=texts, groups=[first[text] for text in texts]
    )


def judged_split(lake: Lake, catalog: CatalogTexts, split: Split) -> list[TextExample]:
    """The judged queries of one split; none where the lake has no judgments."""
    if not (lake.has("queries") and lake.has("judgments")):
        return []
    queries = [row_to_query(r) for r in QUERIES.read(lake.current("queries")).to_pylist() if r["split"] == split]
    wanted = {str(query.query_id) for query in queries}
    rows = JUDGMENTS.read(lake.current("judgments")).to_pylist()
    judgments = [row_to_judgment(row) for row in rows if row["query_id"] in wanted]
    queries.sort(key=lambda query: str(query.query_id))
    return judged_examples(queries, judgments, catalog.text_of, catalog.group_of)


def read_training_data(
    config: SourcesConfig,
    augment: AugmentConfig,
    lake: Lake,
    catalog: CatalogTexts,
    open_tower: Callable[[], Encoder[str]],
    seed: int,
) -> TextTrainingData:
    """What is learned from, all train queries included.

    Args:
        config: which examples.
        augment: a back-translation that it asks for is made here, once.
        lake: with products; queries and judgments if there are any, and events for clicks.
        catalog: of the lake.
        open_tower: the tower as it is before the fit; opened only where it is asked.
        seed: of what is drawn.

    Raises:
        ConfigError: no example is found, no click, or pseudo-labels have no validation judgments to be sure by.
    """
    judged, held_out = judged_split(lake, catalog, "train"), judged_split(lake, catalog, "validation")
    cosines = _Cosines(open_tower, catalog.texts)
    examples: list[TextExample] = []
    if "judgments" in config.use:
        examples += judged
    if "pseudo" in config.use:
        examples += _sure_ones(config, judged, held_out, catalog, cosines)
    if "fields" in config.use:
        found = field_examples(
            catalog.products, catalog.text_of, catalog.group_of, config.anchor_fields, weight=config.field_weight
        )
        examples += _some(found, config.most_fields, seed)
    if "clicks" in config.use:
        train_queries = [(one.anchor, one.query_id) for one in judged]
        examples += read_click_examples(config.clicks, lake, catalog.text_of, catalog.group_of, train_queries)
    if not examples:
        raise ConfigError(
            f"no example to learn from in {', '.join(config.use)}; judge train queries, or name fields that the products have"
        )
    return TextTrainingData(
        examples=_with_negatives(config.negatives, examples, catalog, cosines),
        held_out=held_out,
        vocabulary=sorted({word for text in catalog.texts for word in unstemmed_words(text)})
        if augment.replace_words
        else (),
        brands=sorted({product.brand for product in catalog.products if product.brand}) if augment.drop_named else (),
        paraphrase=_said_otherwise(augment, examples),
    )


class _Cosines:
    """Cosines of an anchor to the catalog's texts by the tower before the fit, which is opened, and reads the catalog, when first asked."""

    def __init__(self, open_tower: Callable[[], Encoder[str]], texts: Sequence[str]) -> None:
        self._open_tower, self._texts = open_tower, texts
        self._opened: tuple[Encoder[str], NDArray[np.float32]] | None = None

    def __call__(self, anchor: str) -> NDArray[np.float32]:
        """Float32 [N]."""
        if self._opened is None:
            encoder = self._open_tower()
            self._opened = (encoder, encoder.encode(self._texts))
        encoder, vectors_ND = self._opened
        cosines_N: NDArray[np.float32] = vectors_ND @ encoder.encode([anchor])[0]
        return cosines_N


def _sure_ones(
    config: SourcesConfig,
    judged: Sequence[TextExample],
    held_out: Sequence[TextExample],
    catalog: CatalogTexts,
    cosines: _Cosines,
) -> list[TextExample]:
    place = {text: n for n, text in enumerate(catalog.texts)}
    found: list[NDArray[np.float32]] = []
    fits: list[float] = []
    for one in held_out:
        found.append(cosines(one.anchor)[[place[text] for text in one.texts]])
        fits.extend(one.grades)
    fits_n = np.array(fits) >= _FITS_FROM
    if not len(fits_n) or fits_n.all() or not fits_n.any():
        raise ConfigError(
            "pseudo needs judged validation pairs, some of grade 2 and above and some below, to know how sure a cosine is; judge some, or "
            "leave pseudo out of sources.use"
        )
    return pseudo_examples(
        judged,
        catalog.texts,
        catalog.groups,
        cosines,
        fit_confidence(np.concatenate(found), fits_n),
        least=config.pseudo_confidence,
        most_per_anchor=config.pseudo_per_query,
        weight=config.pseudo_weight,
    )


def _with_negatives(
    config: NegativesConfig, examples: Sequence[TextExample], catalog: CatalogTexts, cosines: _Cosines
) -> list[TextExample]:
    found = list(examples)
    searches: list[tuple[int, Callable[[], Search]]] = [
        (config.bm25, lambda: Bm25Index.build(Bm25Config(), {"title": catalog.texts}).scores),
        (config.model, lambda: cosines),
    ]
    for count, open_search in searches:
        if count:
            found = add_hard_negatives(
                found,
                catalog.texts,
                catalog.groups,
                open_search(),
                count,
                depth=config.depth,
                most_of_positive=config.most_of_positive,
            )
    return found


def _some(examples: Sequence[TextExample], most: int, seed: int) -> list[TextExample]:
    if not most or len(examples) <= most:
        return list(examples)
    drawn = np.sort(np.random.default_rng(seed).choice(len(examples), size=most, replace=False))
    return [examples[n] for n in drawn]


def _said_otherwise(augment: AugmentConfig, examples: Sequence[TextExample]) -> dict[str, str]:
    if not augment.back_translated:
        return {}
    texts = sorted({text for one in examples for text in (one.anchor, *one.texts)})
    return back_translate(texts, augment.translate_out, augment.translate_back)
