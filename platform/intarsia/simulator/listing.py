"""Write the raw export row of a product: one somewhat dirty row in one language.

Brand, material, style and audience are in the text only. The pattern is in the images only, and so is the colour where
`colour_in_text` is false. All these rows are valid; bad rows: see `defects.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from intarsia.simulator.assortment import CATEGORIES, Category
from intarsia.simulator.random_streams import choose, stream
from intarsia.simulator.truth import MarketTruth, product_id
from intarsia.simulator.vocabulary import (
    AUDIENCES,
    BRANDS,
    COLOURS,
    EVERYONE,
    MATERIALS,
    STYLES,
    Language,
    possessive,
    synonym,
    to_traditional,
)


class ExportRow(TypedDict):
    """One line of products.jsonl; an attribute that the seller left out is null."""

    sku: str
    name: str
    body_html: str
    brand: str
    categories: str
    category_code: str
    price: str
    currency: str
    pictures: list[str]
    lang: str
    stock: int
    colour: str | None
    material: str | None
    style: str | None
    audience: str | None
    updated: str


_SHARE_TRADITIONAL, _SHARE_FULL_WIDTH = 0.1, 0.08
_FIRST_UPDATE, _NUM_UPDATE_SECONDS = np.datetime64("2025-06-01T00:00:00"), 210 * 86_400
_CNY_PER_USD = 7
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)} | {ord(" "): 0x3000}


def export_row(truth: MarketTruth, i: int, seed: int, images: Sequence[str]) -> ExportRow:
    """The export row of product i; a near-duplicate has the row of its source with small changes.

    Args:
        truth: truth of the market.
        i: number of the product.
        seed: seed of the market.
        images: image paths for the row.
    """
    source = int(truth.duplicate_of[i]) if truth.duplicate_of[i] >= 0 else i
    rng = stream(seed, "listing", source)
    leaf, locale = CATEGORIES[int(truth.category[i])], _locale(truth, i)
    words = _ListingWords(truth, i, rng, locale)
    title, price = _title(words, leaf, rng), leaf.price_usd * float(rng.lognormal(0, 0.35))
    body = _body(words, leaf, rng)
    brand, category = words.brand, " > ".join(leaf.path(locale))
    updated = _FIRST_UPDATE + np.timedelta64(int(rng.integers(_NUM_UPDATE_SECONDS)), "s")
    if locale == "zh" and rng.random() < _SHARE_TRADITIONAL:
        title, body, brand, category = (to_traditional(text) for text in (title, body, brand, category))
    if rng.random() < _SHARE_FULL_WIDTH:
        title = title.translate(_FULL_WIDTH)
    if source != i:
        rng = stream(seed, "retouch", i)
        title, price = _duplicate_title(title, locale, rng), price * float(rng.uniform(0.95, 1.05))
    amount, currency = _price(price, locale, rng)
    return ExportRow(
        sku=product_id(i),
        name=_stray_space(title, rng),
        body_html=body,
        brand=_stray_case(brand, locale, rng),
        categories=category.replace(" > ", choose(rng, (" > ", " > ", " > ", ">", "  >  "))),
        category_code=leaf.code,
        price=amount,
        currency=currency,
        pictures=list(images),
        lang=locale,
        stock=int(rng.integers(1, 200)) if rng.random() > 0.06 else 0,
        colour=words.colour if words.colour_in_column else None,
        material=words.material if rng.random() < 0.8 else None,
        style=words.style if rng.random() < 0.7 else None,
        audience=words.audience if words.audience and rng.random() < 0.7 else None,
        updated=f"{updated}Z" if rng.random() < 0.9 else str(updated)[:10],
    )


class _ListingWords:
    """The words of one listing; "" for an attribute that it does not name."""

    def __init__(self, truth: MarketTruth, i: int, rng: np.random.Generator, locale: Language) -> None:
        self.locale: Language = locale
        self.brand = BRANDS[int(truth.brand[i])].words(locale)[0]
        self.colour = synonym(rng, COLOURS[int(truth.colour[i])].words(locale))
        self.material = synonym(rng, MATERIALS[int(truth.material[i])].words(locale))
        self.style = synonym(rng, STYLES[int(truth.style[i])].words(locale))
        audience = AUDIENCES[int(truth.audience[i])]
        self.audience = "" if audience.key == EVERYONE else synonym(rng, audience.words(locale), 0.75)
        # a colour that the text names is in at least one of title, body and column
        parts = int(rng.integers(1, 8)) if truth.colour_in_text[i] else 0
        self.colour_in_title, self.colour_in_body = bool(parts & 1), bool(parts & 2)
        self.colour_in_column = bool(parts & 4)


def _locale(truth: MarketTruth, i: int) -> Language:
    return "zh" if truth.is_zh[i] else "en"


def _title(words: _ListingWords, leaf: Category, rng: np.random.Generator) -> str:
    word = synonym(rng, leaf.words(words.locale))
    colour = words.colour if words.colour_in_title else ""
    material = words.material if rng.random() < 0.55 else ""
    style = words.style if rng.random() < 0.3 else ""
    audience = words.audience if rng.random() < 0.7 else ""
    if words.locale == "zh":
        year = choose(rng, ("2026新款", "新款", "【现货】", "", "", ""))
        parts = choose(
            rng,
            (
                (words.brand, year, audience, colour, material, style, word),
                (year, words.brand, style, material, audience, word, colour),
                (words.brand, word, audience, style, colour, material),
            ),
        )
        return choose(rng, ("", " ")).join(part for part in parts if part)
    model = choose(rng, ("", "", "", "No. 7", "Series II", "2026", "Classic", "- new"))
    if rng.random() < 0.7:
        owner = audience if audience in ("", "unisex") else possessive(audience)
        parts = (words.brand, owner, style, colour, material, word, model)
    else:
        parts = (
            words.brand,
            word,
            model,
            f"for {audience}" if audience else "",
            f"in {colour}" if colour else "",
            material,
        )
    title = " ".join(part for part in parts if part)
    return title.title().replace("'S ", "'s ") if rng.random() < 0.5 else title


def _body(words: _ListingWords, leaf: Category, rng: np.random.Generator) -> str:
    word = synonym(rng, leaf.words(words.locale))
    other = choose(rng, [c for c in CATEGORIES if c.key != leaf.key]).words(words.locale)[0]
    audience = words.audience or ("everyone" if words.locale == "en" else "所有人")
    if words.locale == "en":
        lines = [
            choose(
                rng, ("{} by {}, made of {}.", "{}: designed by {}, made of {}.", "{} from {}. Material: {}.")
            ).format(word.capitalize(), words.brand, words.material),
            leaf.use_en,
            choose(rng, ("A {} look for every season.", "The design is {}.", "Made for a {} taste.")).format(
                words.style
            ),
            f"{choose(rng, ('Designed', 'Made', 'Meant'))} for {audience}." if words.audience else "",
            f"Colour: {words.colour}." if words.colour_in_body else "",
            f"Goes well with our {other}." if rng.random() < 0.2 else "",
            choose(rng, ("Free returns within 30 days.", "Ships in two days.", "")),
        ]
    else:
        lines = [
            f"{words.brand}{word}，采用{words.material}材质。",
            leaf.use_zh,
            choose(rng, ("{}风格，四季百搭。", "设计{}。", "{}之选。")).format(words.style),
            f"适合{audience}。" if words.audience else "",
            f"颜色：{words.colour}。" if words.colour_in_body else "",
            f"可与{other}搭配。" if rng.random() < 0.2 else "",
            choose(rng, ("七天无理由退换。", "48小时内发货。", "")),
        ]
    return _to_html([line for line in lines if line], words.locale, rng)


def _to_html(lines: list[str], locale: Language, rng: np.random.Generator) -> str:
    """Mostly clean paragraphs; else lists, entities, styles, comments, scripts and unclosed tags."""
    escaped = [line.replace("&", "&amp;") for line in lines]
    kind = rng.random()
    space = " " if locale == "en" else ""
    if kind < 0.45:
        return "".join(f"<p>{line}</p>" for line in escaped)
    if kind < 0.6:
        return space.join(lines)
    if kind < 0.72:
        return "<ul>\n" + "".join(f"  <li>{line}</li>\n" for line in escaped) + "</ul>"
    if kind < 0.82:
        return "<div style='font-size:14px'>" + "<br/>".join(escaped) + "&nbsp;&nbsp;</div><!-- pasted from editor -->"
    if kind < 0.92:
        return f"<p><b>{escaped[0]}</b><p>{space.join(escaped[1:])}<script>track(1&2);</script>"
    return f"&ldquo;{escaped[0]}&rdquo;<br>&#8226; " + "<br>&#8226; ".join(escaped[1:]) + "\r\n\t&trade;"


def _price(usd: float, locale: Language, rng: np.random.Generator) -> tuple[str, str]:
    """(price text, currency): full-width or spaced signs, thousands separators, two decimals."""
    if locale == "zh":
        sign, currency, amount = choose(rng, ("¥", "¥", "¥", "￥", "¥ ", "")), "CNY", round(usd * _CNY_PER_USD)
        cents = choose(rng, (".00", ".00", ".90", ".50"))
        text = f"{sign}{amount:,}{cents}"
        return (text.translate(_FULL_WIDTH), currency) if rng.random() < 0.03 else (text, currency)
    sign, currency = choose(rng, (("$", "USD"),) * 7 + (("£", "GBP"), ("€", "EUR"), ("", "USD")))
    return f"{sign}{max(1, round(usd)) - 0.01:,.2f}" if rng.random() < 0.6 else f"{sign}{usd:,.2f}", currency


def _stray_space(title: str, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.06:
        return f"  {title} \t"
    if kind < 0.1:
        return title.replace(" ", "  ", 1) + "\n"
    return title.replace(" ", "\u00a0", 1) if kind < 0.14 else title


def _stray_case(brand: str, locale: Language, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.05:
        return f" {brand} "
    return brand.upper() if locale == "en" and kind < 0.12 else brand


def _duplicate_title(title: str, locale: Language, rng: np.random.Generator) -> str:
    """The title of a near-duplicate."""
    if locale == "zh":
        return choose(rng, ("{} 包邮", "{}！", "热卖 {}", "{} ")).format(title)
    return choose(rng, ("{} (new)", "{}!", "{} - free shipping", "NEW {}")).format(title)
