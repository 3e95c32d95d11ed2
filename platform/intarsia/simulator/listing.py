"""Writes a product as its shop exports it: one raw, somewhat dirty row, in one language. It tells only what the truth lets it tell.

Told by text alone: brand, material, style, audience. Told by pictures alone: pattern always, colour where `colour_told` is false.
Every valid row survives cleaning; rows that must not are made in `defects`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from intarsia.simulator.assortment import CATEGORIES, Category
from intarsia.simulator.attribute_words import AUDIENCES, BRANDS, COLOURS, EVERYONE, MATERIALS, STYLES, Locale
from intarsia.simulator.random_streams import owned_by, pick, pick_word, stream
from intarsia.simulator.traditional import to_traditional
from intarsia.simulator.truth import MarketTruth, product_id


class RawRow(TypedDict):
    """One line of products.jsonl. An attribute that the seller left out is null."""

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


def raw_row(truth: MarketTruth, i: int, seed: int, images: Sequence[str]) -> RawRow:
    """The export row of product i; a near-duplicate has its source's row, retouched.

    Args:
        truth: the market.
        i: number of the product.
        seed: of the market.
        pictures: paths as they stand in the row.
    """
    source = int(truth.duplicate_of[i]) if truth.duplicate_of[i] >= 0 else i
    rng = stream(seed, "listing", source)
    leaf, locale = CATEGORIES[int(truth.category[i])], _locale(truth, i)
    told = _Told(truth, i, rng, locale)
    title, price = _title(told, leaf, rng), leaf.price_usd * float(rng.lognormal(0, 0.35))
    body = _body(told, leaf, rng)
    brand, category = told.brand, " > ".join(leaf.path(locale))
    updated = _FIRST_UPDATE + np.timedelta64(int(rng.integers(_NUM_UPDATE_SECONDS)), "s")
    if locale == "zh" and rng.random() < _SHARE_TRADITIONAL:
        title, body, brand, category = (to_traditional(text) for text in (title, body, brand, category))
    if rng.random() < _SHARE_FULL_WIDTH:
        title = title.translate(_FULL_WIDTH)
    if source != i:
        rng = stream(seed, "retouch", i)
        title, price = _retouch(title, locale, rng), price * float(rng.uniform(0.95, 1.05))
    amount, currency = _price(price, locale, rng)
    return RawRow(
        sku=product_id(i),
        name=_stray_space(title, rng),
        body_html=body,
        brand=_stray_case(brand, locale, rng),
        categories=category.replace(" > ", pick(rng, (" > ", " > ", " > ", ">", "  >  "))),
        category_code=leaf.code,
        price=amount,
        currency=currency,
        pictures=list(images),
        lang=locale,
        stock=int(rng.integers(1, 200)) if rng.random() > 0.06 else 0,
        colour=told.colour if told.colour_in_column else None,
        material=told.material if rng.random() < 0.8 else None,
        style=told.style if rng.random() < 0.7 else None,
        audience=told.audience if told.audience and rng.random() < 0.7 else None,
        updated=f"{updated}Z" if rng.random() < 0.9 else str(updated)[:10],
    )


class _Told:
    """The words this seller uses for what the text may tell; an empty word is not told."""

    def __init__(self, truth: MarketTruth, i: int, rng: np.random.Generator, locale: Locale) -> None:
        self.locale: Locale = locale
        self.brand = BRANDS[int(truth.brand[i])].words(locale)[0]
        self.colour = pick_word(rng, COLOURS[int(truth.colour[i])].words(locale))
        self.material = pick_word(rng, MATERIALS[int(truth.material[i])].words(locale))
        self.style = pick_word(rng, STYLES[int(truth.style[i])].words(locale))
        audience = AUDIENCES[int(truth.audience[i])]
        self.audience = "" if audience.key == EVERYONE else pick_word(rng, audience.words(locale), 0.75)
        # a told colour stands in at least one of title, body and column
        where = int(rng.integers(1, 8)) if truth.colour_told[i] else 0
        self.colour_in_title, self.colour_in_body = bool(where & 1), bool(where & 2)
        self.colour_in_column = bool(where & 4)


def _locale(truth: MarketTruth, i: int) -> Locale:
    return "zh" if truth.is_zh[i] else "en"


def _title(told: _Told, leaf: Category, rng: np.random.Generator) -> str:
    word = pick_word(rng, leaf.words(told.locale))
    colour = told.colour if told.colour_in_title else ""
    material = told.material if rng.random() < 0.55 else ""
    style = told.style if rng.random() < 0.3 else ""
    audience = told.audience if rng.random() < 0.7 else ""
    if told.locale == "zh":
        year = pick(rng, ("2026新款", "新款", "【现货】", "", "", ""))
        parts = pick(
            rng,
            (
                (told.brand, year, audience, colour, material, style, word),
                (year, told.brand, style, material, audience, word, colour),
                (told.brand, word, audience, style, colour, material),
            ),
        )
        return pick(rng, ("", " ")).join(part for part in parts if part)
    model = pick(rng, ("", "", "", "No. 7", "Series II", "2026", "Classic", "- new"))
    if rng.random() < 0.7:
        owner = audience if audience in ("", "unisex") else owned_by(audience)
        parts = (told.brand, owner, style, colour, material, word, model)
    else:
        parts = (
            told.brand,
            word,
            model,
            f"for {audience}" if audience else "",
            f"in {colour}" if colour else "",
            material,
        )
    title = " ".join(part for part in parts if part)
    return title.title().replace("'S ", "'s ") if rng.random() < 0.5 else title


def _body(told: _Told, leaf: Category, rng: np.random.Generator) -> str:
    word = pick_word(rng, leaf.words(told.locale))
    other = pick(rng, [c for c in CATEGORIES if c.key != leaf.key]).words(told.locale)[0]
    audience = told.audience or ("everyone" if told.locale == "en" else "所有人")
    if told.locale == "en":
        lines = [
            pick(rng, ("{} by {}, made of {}.", "{}: designed by {}, made of {}.", "{} from {}. Material: {}.")).format(
                word.capitalize(), told.brand, told.material
            ),
            leaf.use_en,
            pick(rng, ("A {} look for every season.", "The design is {}.", "Made for a {} taste.")).format(told.style),
            f"{pick(rng, ('Designed', 'Made', 'Meant'))} for {audience}." if told.audience else "",
            f"Colour: {told.colour}." if told.colour_in_body else "",
            f"Goes well with our {other}." if rng.random() < 0.2 else "",
            pick(rng, ("Free returns within 30 days.", "Ships in two days.", "")),
        ]
    else:
        lines = [
            f"{told.brand}{word}，采用{told.material}材质。",
            leaf.use_zh,
            pick(rng, ("{}风格，四季百搭。", "设计{}。", "{}之选。")).format(told.style),
            f"适合{audience}。" if told.audience else "",
            f"颜色：{told.colour}。" if told.colour_in_body else "",
            f"可与{other}搭配。" if rng.random() < 0.2 else "",
            pick(rng, ("七天无理由退换。", "48小时内发货。", "")),
        ]
    return _to_html([line for line in lines if line], told.locale, rng)


def _to_html(lines: list[str], locale: Locale, rng: np.random.Generator) -> str:
    """Clean paragraphs mostly; else lists, entities, styles, comments, scripts and unclosed tags, as sellers paste them."""
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


def _price(usd: float, locale: Locale, rng: np.random.Generator) -> tuple[str, str]:
    """The price as written, and its currency: full-width or spaced signs, thousands commas, two decimals."""
    if locale == "zh":
        sign, currency, amount = pick(rng, ("¥", "¥", "¥", "￥", "¥ ", "")), "CNY", round(usd * _CNY_PER_USD)
        cents = pick(rng, (".00", ".00", ".90", ".50"))
        text = f"{sign}{amount:,}{cents}"
        return (text.translate(_FULL_WIDTH), currency) if rng.random() < 0.03 else (text, currency)
    sign, currency = pick(rng, (("$", "USD"),) * 7 + (("£", "GBP"), ("€", "EUR"), ("", "USD")))
    return f"{sign}{max(1, round(usd)) - 0.01:,.2f}" if rng.random() < 0.6 else f"{sign}{usd:,.2f}", currency


def _stray_space(title: str, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.06:
        return f"  {title} \t"
    if kind < 0.1:
        return title.replace(" ", "  ", 1) + "\n"
    return title.replace(" ", "\u00a0", 1) if kind < 0.14 else title


def _stray_case(brand: str, locale: Locale, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.05:
        return f" {brand} "
    return brand.upper() if locale == "en" and kind < 0.12 else brand


def _retouch(title: str, locale: Locale, rng: np.random.Generator) -> str:
    """What a seller does to a title to list a thing twice."""
    if locale == "zh":
        return pick(rng, ("{} 包邮", "{}！", "热卖 {}", "{} ")).format(title)
    return pick(rng, ("{} (new)", "{}!", "{} - free shipping", "NEW {}")).format(title)
