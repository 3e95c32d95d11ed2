"""Training data of `finetune_text`: judged train queries, catalog fields, clicks and pseudo-labels; and hard negatives.

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
from intarsia.index.bm25 import Bm25Config, Bm25Index
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
    ScoreCatalog,
    TextExample,
    add_hard_negatives,
    field_examples,
    fit_confidence,
    judged_examples,
    pseudo_examples,
)
from intarsia.training.text_training_data import TextTrainingData

SourceName = Literal["judgments", "fields", "clicks", "pseudo"]
_FITS_FROM = 2.0  # lowest grade of a judged text that counts as fitting


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesConfig:
    """Which sources of training examples are used, and how much of each."""

    use: tuple[SourceName, ...] = setting(
        "sources: judgments (of train queries), fields (one field of a product as the query, its text as the answer), "
        "clicks (what shoppers took or skipped on the pages of the log), pseudo (unjudged texts that fit a judged "
        "query with high confidence)",
        ("judgments",),
    )
    anchor_fields: tuple[TextField, ...] = setting(
        "source fields: the fields that are used as queries", ("category", "attributes"), advanced=True
    )
    field_weight: float = setting("source fields: weight of an example; a judged example weighs 1", 0.2, advanced=True)
    most_fields: int = setting(
        "source fields: largest number of examples, sampled evenly; 0: all", 4_000, advanced=True
    )
    clicks: ClicksConfig = setting("source clicks: which clicks are used", factory=ClicksConfig, advanced=True)
    pseudo_confidence: float = setting(
        "source pseudo: lowest confidence of a text, calibrated on validation queries", 0.9, advanced=True
    )
    pseudo_per_query: int = setting("source pseudo: largest number of texts per query", 4, advanced=True)
    pseudo_weight: float = setting("source pseudo: weight of an example; a judged example weighs 1", 0.5, advanced=True)
    negatives: NegativesConfig = setting("mined hard negatives", factory=NegativesConfig, advanced=True)

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
    """The products in table order, without their image bytes.

    `texts` are their distinct texts, `groups` the product group of one product of each.
    """

    products: Sequence[Product]
    text_of: dict[ProductId, str]
    group_of: dict[ProductId, str]
    texts: Sequence[str]
    groups: Sequence[str]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The distinct pairs of title and description, of products that have both."""
        pairs = {
            (product.title, product.description) for product in self.products if product.title and product.description
        }
        return sorted(pairs)


def read_catalog(lake: Lake, fields: Sequence[TextField]) -> CatalogTexts:
    """Read the products of the lake as texts."""
    products: list[Product] = []
    group_of: dict[ProductId, str] = {}
    for batch in PRODUCTS.batches(lake.current("products"), COLUMNS_WITHOUT_IMAGE_BYTES):
        for row in batch.to_pylist():
            product = row_to_product(row)[0]
            products.append(product)
            if row["duplicate_group"]:
                group_of[product.product_id] = row["duplicate_group"]
    text_of = {product.product_id: product_text(product, fields) for product in products}
    group_of_text: dict[str, str] = {}
    for product in products:
        group_of_text.setdefault(text_of[product.product_id], group_of.get(product.product_id, NO_GROUP))
    texts = sorted(text for text in group_of_text if text)
    return CatalogTexts(
        products=products,
        text_of=text_of,
        group_of=group_of,
        texts=texts,
        groups=[group_of_text[text] for text in texts],
    )


def judged_split(lake: Lake, catalog: CatalogTexts, split: Split) -> list[TextExample]:
    """The judged queries of a split as examples; empty if the lake has no judgments."""
    if not (lake.has("queries") and lake.has("judgments")):
        return []
    queries = [row_to_query(row) for row in QUERIES.read(lake.current("queries")).to_pylist() if row["split"] == split]
    query_ids = {str(query.query_id) for query in queries}
    rows = JUDGMENTS.read(lake.current("judgments")).to_pylist()
    judgments = [row_to_judgment(row) for row in rows if row["query_id"] in query_ids]
    queries.sort(key=lambda query: str(query.query_id))
    return judged_examples(queries, judgments, catalog.text_of, catalog.group_of)


def read_text_training_data(
    config: SourcesConfig,
    augment: AugmentConfig,
    lake: Lake,
    catalog: CatalogTexts,
    open_tower: Callable[[], Encoder[str]],
    seed: int,
) -> TextTrainingData:
    """Read the training data, with all train queries.

    Args:
        config: which sources.
        augment: if it uses back-translation, the texts are translated here, once.
        lake: with products; queries and judgments if there are any; events for clicks.
        catalog: products of the lake.
        open_tower: opens the tower before the fit; called only if a source needs it.
        seed: of random draws.

    Raises:
        ConfigError: there is no example, no click, or no validation judgment to calibrate the confidence of
            pseudo-labels.
    """
    judged, held_out = judged_split(lake, catalog, "train"), judged_split(lake, catalog, "validation")
    cosines = _Cosines(open_tower, catalog.texts)
    examples: list[TextExample] = []
    if "judgments" in config.use:
        examples += judged
    if "pseudo" in config.use:
        examples += _pseudo_labels(config, judged, held_out, catalog, cosines)
    if "fields" in config.use:
        candidates = field_examples(
            catalog.products, catalog.text_of, catalog.group_of, config.anchor_fields, weight=config.field_weight
        )
        examples += _sample(candidates, config.most_fields, seed)
    if "clicks" in config.use:
        train_queries = [(example.anchor, example.query_id) for example in judged]
        examples += read_click_examples(config.clicks, lake, catalog.text_of, catalog.group_of, train_queries)
    if not examples:
        raise ConfigError(
            f"sources.use is {', '.join(config.use)}, which gives no example; judge train queries, or set "
            "anchor_fields to fields that products have"
        )
    return TextTrainingData(
        examples=_with_negatives(config.negatives, examples, catalog, cosines),
        held_out=held_out,
        vocabulary=sorted({word for text in catalog.texts for word in unstemmed_words(text)})
        if augment.replace_words
        else (),
        brands=sorted({product.brand for product in catalog.products if product.brand}) if augment.drop_named else (),
        paraphrase=_paraphrases(augment, examples),
    )


class _Cosines:
    """Cosines of an anchor to the texts of the catalog by the tower before the fit. The tower is opened at the first
    call.
    """

    def __init__(self, open_tower: Callable[[], Encoder[str]], texts: Sequence[str]) -> None:
        self._open_tower, self._texts = open_tower, texts
        self._opened: tuple[Encoder[str], NDArray[np.float32]] | None = None

    def __call__(self, anchor: str) -> NDArray[np.float32]:
        """Cosines, float32 [N]."""
        if self._opened is None:
            encoder = self._open_tower()
            self._opened = (encoder, encoder.encode(self._texts))
        encoder, vectors_ND = self._opened
        cosines_N: NDArray[np.float32] = vectors_ND @ encoder.encode([anchor])[0]
        return cosines_N


def _pseudo_labels(
    config: SourcesConfig,
    judged: Sequence[TextExample],
    held_out: Sequence[TextExample],
    catalog: CatalogTexts,
    cosines: _Cosines,
) -> list[TextExample]:
    row_of = {text: n for n, text in enumerate(catalog.texts)}
    cosines_of_judged: list[NDArray[np.float32]] = []
    grades: list[float] = []
    for example in held_out:
        cosines_of_judged.append(cosines(example.anchor)[[row_of[text] for text in example.texts]])
        grades.extend(example.grades)
    is_fit_n = np.array(grades) >= _FITS_FROM
    if not len(is_fit_n) or is_fit_n.all() or not is_fit_n.any():
        raise ConfigError(
            "pseudo needs judged validation pairs, some of grade 2 and above and some below, to calibrate its "
            "confidence; judge some, or remove pseudo from sources.use"
        )
    return pseudo_examples(
        judged,
        catalog.texts,
        catalog.groups,
        cosines,
        fit_confidence(np.concatenate(cosines_of_judged), is_fit_n),
        min_confidence=config.pseudo_confidence,
        max_per_anchor=config.pseudo_per_query,
        weight=config.pseudo_weight,
    )


def _with_negatives(
    config: NegativesConfig, examples: Sequence[TextExample], catalog: CatalogTexts, cosines: _Cosines
) -> list[TextExample]:
    result = list(examples)
    searches: list[tuple[int, Callable[[], ScoreCatalog]]] = [
        (config.bm25, lambda: Bm25Index.build(Bm25Config(), {"title": catalog.texts}).scores),
        (config.model, lambda: cosines),
    ]
    for count, open_search in searches:
        if count:
            result = add_hard_negatives(
                result,
                catalog.texts,
                catalog.groups,
                open_search(),
                count,
                depth=config.depth,
                most_of_positive=config.most_of_positive,
            )
    return result


def _sample(examples: Sequence[TextExample], max_examples: int, seed: int) -> list[TextExample]:
    if not max_examples or len(examples) <= max_examples:
        return list(examples)
    drawn = np.sort(np.random.default_rng(seed).choice(len(examples), size=max_examples, replace=False))
    return [examples[n] for n in drawn]


def _paraphrases(augment: AugmentConfig, examples: Sequence[TextExample]) -> dict[str, str]:
    if not augment.back_translated:
        return {}
    texts = sorted({text for example in examples for text in (example.anchor, *example.texts)})
    return back_translate(texts, augment.translate_out, augment.translate_back)
