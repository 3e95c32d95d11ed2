"""Files of a market: counts, determinism, defects, image modes, refused settings."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.errors import ConfigError
from intarsia.ids import sha256_bytes, sha256_file, sha256_tree
from intarsia.simulator.assortment import CATEGORIES
from intarsia.simulator.catalog_files import product_images
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.defects import BAD_ROW_KINDS, BOMB_SIDE_PX
from intarsia.simulator.drawing import ImageRenderer
from intarsia.simulator.listing import export_row
from intarsia.simulator.market import BAD_EVENT_KINDS, write_market
from intarsia.simulator.truth import BAD_IMAGE_KINDS, draw_truth
from intarsia.simulator.vocabulary import ATTRIBUTES, COLOURS, PATTERNS


def test_equal_configs_give_equal_bytes_and_another_seed_different_ones(make_market) -> None:
    settings = {"num_products": 60, "num_queries": 20, "num_sessions": 40}
    first, second = make_market("a", **settings), make_market("b", **settings)
    assert sha256_tree(first.folder) == sha256_tree(second.folder)
    assert sha256_tree(first.folder) != sha256_tree(make_market("c", seed=8, **settings).folder)


def test_a_product_does_not_depend_on_the_others(market) -> None:
    truth, renderer = draw_truth(market.config), ImageRenderer(market.config.seed, market.config.image_px)
    rows = {row["sku"]: row for row in market.valid_rows}
    for i in (699, 3, 311):
        written = rows[f"P{i:06d}"]
        assert export_row(truth, i, market.config.seed, written["pictures"]) == written
        if truth.bad_image[i] < 0:
            drawn = list(product_images(market.config, truth, renderer, i))
            assert [sha256_bytes(jpeg) for jpeg in drawn] == [
                sha256_file(market.folder / name) for name in written["pictures"]
            ]


def test_counts_are_those_of_the_config(market) -> None:
    config, summary = market.config, market.summary
    assert len(market.valid_rows) == len(market.truth) == summary.products == config.num_products
    assert len(market.defects) == sum(summary.bad_rows.values()) == round(700 * 0.03 / 0.97)
    assert summary.without_image == round(700 * 0.08) == sum(not row["pictures"] for row in market.valid_rows)
    assert summary.near_duplicates == 14 == sum(row["duplicate_of"] is not None for row in market.truth.values())
    assert sum(summary.bad_images.values()) == 28
    assert summary.images == sum(1 for _ in (market.folder / "images").rglob("*.*"))
    assert summary.queries == {"text": 60, "image": 20, "both": 20}
    assert summary.judgments == len(market.judgments)
    assert 1.6 < np.mean([len(row["pictures"]) for row in market.valid_rows]) < 2.1
    assert Counter(row["lang"] for row in market.valid_rows).most_common(1)[0][1] < 0.55 * config.num_products


def test_every_kind_of_bad_row_occurs_and_has_its_defect(market) -> None:
    assert set(market.summary.bad_rows) == set(BAD_ROW_KINDS) == set(market.defects.values())
    lines, seen = market.raw_lines("products.jsonl"), set()
    for number, line in enumerate(lines, start=1):
        kind = market.defects.get(number)
        if kind == "invalid_utf8":
            with pytest.raises(UnicodeDecodeError):
                line.decode()
        elif kind == "broken_json":
            with pytest.raises(json.JSONDecodeError):
                json.loads(line)
        else:
            row = json.loads(line)
            assert (row.get("sku") in seen) == (kind == "duplicate_id")
            seen.add(row.get("sku", "").strip() or number)
            assert isinstance(row["name"], str) or kind in ("missing_title", "wrong_type")
            if kind == "control_title":
                assert not re.search(r"\w", row["name"])
            if kind == "overlong_title":
                assert len(row["name"]) >= 5000


def test_every_kind_of_bad_image_occurs_and_has_its_defect(market) -> None:
    bad = {row["product_id"]: row["bad_image"] for row in market.truth.values() if row["bad_image"]}
    assert set(bad.values()) == set(BAD_IMAGE_KINDS) == set(market.summary.bad_images)
    placeholders = set()
    for product, kind in bad.items():
        name = market.truth[product]["images"][0]
        path = market.folder / name
        if kind in ("missing_file", "outside_folder"):
            assert not path.exists()
            assert name.startswith("../") == (kind == "outside_folder")
            continue
        content = path.read_bytes()
        if kind == "placeholder":
            placeholders.add(content)
        elif kind == "empty_file":
            assert content == b""
        elif kind == "bomb":
            assert len(content) < 200_000
            assert int.from_bytes(content[16:20], "big") == int.from_bytes(content[20:24], "big") == BOMB_SIDE_PX
        else:
            with pytest.raises((OSError, Image.UnidentifiedImageError)):
                Image.open(io.BytesIO(content)).load()
    assert len(placeholders) == 1


def test_images_are_square_rgb_of_the_configured_size(market) -> None:
    names = [name for row in market.truth.values() if not row["bad_image"] for name in row["images"]]
    for name in [*names[::97], *(q["image"] for q in market.queries if q["image"])][:30]:
        with Image.open(market.folder / name) as image:
            assert (image.size, image.mode, image.format) == ((32, 32), "RGB", "JPEG")


def test_texts_name_no_pattern_and_a_colour_only_with_colour_in_text(market) -> None:
    def words(values):
        texts = [word for value in values for word in (*value.en, *value.zh)]
        return re.compile("|".join(rf"\b{w}\b" if w.isascii() else w for w in texts), re.IGNORECASE)

    from unicodedata import normalize

    from intarsia.simulator.vocabulary import to_traditional

    zh_traditional = {to_traditional(w) for value in COLOURS for w in value.zh}
    for row in market.valid_rows:
        text = normalize("NFKC", " ".join(str(v) for k, v in row.items() if k != "pictures"))
        assert not words(PATTERNS).search(text), text
        names_colour = bool(words(COLOURS).search(text)) or any(word in text for word in zh_traditional)
        assert names_colour == market.truth[row["sku"]]["colour_in_text"], text


def test_texts_name_material_style_and_brand(market) -> None:
    by_key = {name: {value.key: value for value in values} for name, values in ATTRIBUTES.items()}
    for row in market.valid_rows:
        truth, text = market.truth[row["sku"]], f"{row['name']} {row['body_html']}".replace("&amp;", "&").lower()
        if row["lang"] == "en":
            assert any(word.lower() in text for word in by_key["material"][truth["material"]].en)
            assert any(word.lower() in text for word in by_key["style"][truth["style"]].en)
            assert by_key["brand"][truth["brand"]].en[0].lower() in text


def test_categories_and_brands_are_many_and_popularity_is_skewed(market) -> None:
    assert len(CATEGORIES) >= 15
    assert len(ATTRIBUTES["brand"]) == 40
    assert all(2 <= len(leaf.path("en")) == len(leaf.path("zh")) <= 3 for leaf in CATEGORIES)
    popularity = np.sort([row["popularity"] for row in market.truth.values()])[::-1]
    assert popularity[:70].sum() > 0.35 * popularity.sum()  # the top tenth; log-normal, sigma 1.2: 46 % expected


def test_near_duplicates_share_their_truth_but_not_their_bytes(market) -> None:
    names = {row["sku"]: row["name"] for row in market.valid_rows}
    for product, row in market.truth.items():
        if row["duplicate_of"]:
            source = market.truth[row["duplicate_of"]]
            assert all(row[name] == source[name] for name in (*ATTRIBUTES, "category", "lang"))
            assert names[product] != names[row["duplicate_of"]]
            for name, source_name in zip(row["images"], source["images"], strict=True):
                pixels = [
                    np.asarray(Image.open(io.BytesIO((market.folder / n).read_bytes())), float)
                    for n in (name, source_name)
                ]
                assert 0 < np.abs(pixels[0] - pixels[1]).mean() < 12


def test_every_kind_of_bad_event_occurs_and_has_its_defect(market) -> None:
    assert set(market.summary.bad_events) == {*BAD_EVENT_KINDS, "duplicate_event"}
    lines = market.raw_lines("events.jsonl")
    assert len(lines) == sum(market.summary.events.values()) + sum(market.summary.bad_events.values())
    defects = {d["line"]: d["kind"] for d in market.rows("defects.jsonl") if d["file"] == "events.jsonl"}
    seen = set()
    for number, line in enumerate(lines, start=1):
        kind = defects.get(number)
        if kind == "broken_json":
            with pytest.raises(json.JSONDecodeError):
                json.loads(line)
            continue
        row = json.loads(line)
        assert (row.get("event_id") in seen) == (kind == "duplicate_event")
        seen.add(row.get("event_id", number))
        is_valid = (
            row["product_id"] in market.truth
            and row["kind"] in ("impression", "click", "view", "add_to_cart", "purchase")
            and (row["dwell_ms"] is None or row["dwell_ms"] >= 0)
            and row["position"] >= 1
            and row["occurred_at"] < row["received_at"]
            and "event_id" in row
        )
        assert is_valid == (kind in (None, "duplicate_event")), (kind, row)


def test_noise_images_leave_the_texts_unchanged(make_market) -> None:
    settings = {"num_products": 40, "num_queries": 10, "share_bad_image": 0.0}
    true, noise = make_market("a", **settings), make_market("b", images="noise", **settings)
    assert (true.folder / "products.jsonl").read_bytes() == (noise.folder / "products.jsonl").read_bytes()
    assert (true.folder / "judgments.tsv").read_bytes() == (noise.folder / "judgments.tsv").read_bytes()
    assert sha256_tree(true.folder / "query_images") == sha256_tree(noise.folder / "query_images")
    for path in (noise.folder / "images").rglob("*.jpg"):
        pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("L"), float)
        halves = pixels[:, :16].mean(), pixels[:, 16:].mean()
        assert abs(halves[0] - halves[1]) < 12
        assert abs(np.corrcoef(pixels[:-8].ravel(), pixels[8:].ravel())[0, 1]) < 0.25


def test_contradicting_images_show_a_product_of_another_category(make_market) -> None:
    market = make_market(images="contradict", num_products=300, num_queries=5)
    for row in market.truth.values():
        assert market.truth[row["images_show"]]["category"] != row["category"]


def test_progress_is_reported_to_the_end(tmp_path: Path) -> None:
    steps = []
    config = MarketConfig(num_products=5, num_queries=5, num_sessions=5, image_px=32)
    write_market(config, tmp_path / "m", lambda *step: steps.append(step))
    assert next(step for step in steps if step[1] == step[2]) == ("products", 5, 5)
    assert {step[0] for step in steps} == {"products", "queries", "sessions"}


def test_a_market_of_one_product_can_be_generated(make_market) -> None:
    market = make_market(num_products=1, num_queries=30, num_sessions=0, share_bad_rows=0.0)
    assert market.summary.bad_rows == {}
    assert market.summary.events == {}
    assert len({q["text"] for q in market.queries if q["kind"] == "text"}) == 18
    assert set(market.judgments.values()) == {3}
    empty = make_market("no queries", num_products=3, num_queries=0, num_sessions=9)
    assert (empty.folder / "events.jsonl").read_bytes() == b""


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("content")
    with pytest.raises(ConfigError, match=r"is not empty; allowed: an empty folder. Fix: remove it"):
        write_market(MarketConfig(num_products=1), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_products": 0}, r"num_products is 0; allowed: 1 to 1000000"),
        ({"seed": -1}, r"seed is -1; allowed: 0 to"),
        ({"num_queries": -5}, r"num_queries is -5; allowed: 0 to"),
        ({"image_px": 8}, r"image_px is 8; allowed: 32 to 1024"),
        ({"images": "fake"}, r"images is 'fake'; allowed: 'true', 'noise', 'contradict'"),
        ({"share_bad_rows": 0.6}, r"share_bad_rows is 0\.6; allowed: 0 to 0\.5"),
        ({"share_repeated_events": -0.1}, r"share_repeated_events is -0\.1; allowed: 0 to 0\.5"),
        ({"share_without_image": 0.5}, r"are \(0\.5, 0\.01, 0\.02\); allowed: each 0 or more, together 0\.5 at most"),
        ({"share_bad_image": -0.01}, r"allowed: each 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        MarketConfig(**settings)
