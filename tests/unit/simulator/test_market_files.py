"""What a market's folder holds: counts, determinism, defects, hostile modes, refusals."""

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
from intarsia.simulator.attribute_words import ATTRIBUTES, COLOURS, PATTERNS
from intarsia.simulator.catalog_files import product_images
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.defects import BOMB_SIDE_PX, ROTTEN_KINDS
from intarsia.simulator.events_file import ROTTEN_EVENT_KINDS
from intarsia.simulator.images import Painter
from intarsia.simulator.listing import raw_row
from intarsia.simulator.market import write_market
from intarsia.simulator.truth import BAD_IMAGE_KINDS, draw_truth


def test_equal_configs_give_equal_bytes_and_another_seed_others(make_market) -> None:
    settings = {"num_products": 60, "num_queries": 20, "num_sessions": 40}
    first, second = make_market("a", **settings), make_market("b", **settings)
    assert sha256_tree(first.folder) == sha256_tree(second.folder)
    assert sha256_tree(first.folder) != sha256_tree(make_market("c", seed=8, **settings).folder)


def test_a_product_is_the_same_when_it_is_made_alone_and_out_of_order(market) -> None:
    truth, painter = draw_truth(market.config), Painter(market.config.seed, market.config.image_px)
    rows = {row["sku"]: row for row in market.sound_rows}
    for i in (699, 3, 311):
        written = rows[f"P{i:06d}"]
        assert raw_row(truth, i, market.config.seed, written["pictures"]) == written
        if truth.bad_image[i] < 0:
            drawn = list(product_images(market.config, truth, painter, i))
            assert [sha256_bytes(jpeg) for jpeg in drawn] == [
                sha256_file(market.folder / name) for name in written["pictures"]
            ]


def test_counts_are_those_of_the_config(market) -> None:
    config, summary = market.config, market.summary
    assert len(market.sound_rows) == len(market.truth) == summary.products == config.num_products
    assert len(market.faults) == sum(summary.rotten.values()) == round(700 * 0.03 / 0.97)
    assert summary.without_image == round(700 * 0.08) == sum(not row["pictures"] for row in market.sound_rows)
    assert summary.near_duplicates == 14 == sum(row["duplicate_of"] is not None for row in market.truth.values())
    assert sum(summary.bad_images.values()) == 28
    assert summary.images == sum(1 for _ in (market.folder / "images").rglob("*.*"))
    assert summary.queries == {"text": 60, "image": 20, "both": 20}
    assert summary.judgments == len(market.judgments)
    assert 1.6 < np.mean([len(row["pictures"]) for row in market.sound_rows]) < 2.1
    assert Counter(row["lang"] for row in market.sound_rows).most_common(1)[0][1] < 0.55 * config.num_products


def test_every_kind_of_rotten_row_is_there_and_is_what_it_says(market) -> None:
    assert set(market.summary.rotten) == set(ROTTEN_KINDS) == set(market.faults.values())
    lines, seen = market.raw_lines("products.jsonl"), set()
    for number, line in enumerate(lines, start=1):
        kind = market.faults.get(number)
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


def test_every_kind_of_bad_image_is_there_and_is_what_it_says(market) -> None:
    bad = {row["product_id"]: row["bad_image"] for row in market.truth.values() if row["bad_image"]}
    assert set(bad.values()) == set(BAD_IMAGE_KINDS) == set(market.summary.bad_images)
    placeholders = set()
    for product, kind in bad.items():
        name = market.truth[product]["pictures"][0]
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


def test_images_are_square_rgb_of_the_asked_size(market) -> None:
    names = [name for row in market.truth.values() if not row["bad_image"] for name in row["pictures"]]
    for name in [*names[::97], *(q["image"] for q in market.queries if q["image"])][:30]:
        with Image.open(market.folder / name) as image:
            assert (image.size, image.mode, image.format) == ((32, 32), "RGB", "JPEG")


def test_pattern_is_never_told_and_colour_only_where_the_truth_says_so(market) -> None:
    def words(values):
        texts = [word for value in values for word in (*value.en, *value.zh)]
        return re.compile("|".join(rf"\b{w}\b" if w.isascii() else w for w in texts), re.IGNORECASE)

    from unicodedata import normalize

    from intarsia.simulator.traditional import to_traditional

    zh_traditional = {to_traditional(w) for value in COLOURS for w in value.zh}
    for row in market.sound_rows:
        told = normalize("NFKC", " ".join(str(v) for k, v in row.items() if k != "pictures"))
        assert not words(PATTERNS).search(told), told
        is_told = bool(words(COLOURS).search(told)) or any(word in told for word in zh_traditional)
        assert is_told == market.truth[row["sku"]]["colour_told"], told


def test_material_brand_and_audience_are_told_by_text(market) -> None:
    by_key = {name: {value.key: value for value in values} for name, values in ATTRIBUTES.items()}
    for row in market.sound_rows:
        truth, text = market.truth[row["sku"]], f"{row['name']} {row['body_html']}".replace("&amp;", "&").lower()
        if row["lang"] == "en":
            assert any(word.lower() in text for word in by_key["material"][truth["material"]].en)
            assert any(word.lower() in text for word in by_key["style"][truth["style"]].en)
            assert by_key["brand"][truth["brand"]].en[0].lower() in text


def test_there_are_enough_categories_brands_and_popularity_is_skewed(market) -> None:
    assert len(CATEGORIES) >= 15
    assert len(ATTRIBUTES["brand"]) == 40
    assert all(2 <= len(leaf.path("en")) == len(leaf.path("zh")) <= 3 for leaf in CATEGORIES)
    popularity = np.sort([row["popularity"] for row in market.truth.values()])[::-1]
    assert popularity[:70].sum() > 0.35 * popularity.sum()  # the top tenth; log-normal, sigma 1.2: 46 % expected


def test_near_duplicates_share_their_truth_but_not_their_bytes(market) -> None:
    names = {row["sku"]: row["name"] for row in market.sound_rows}
    for product, row in market.truth.items():
        if row["duplicate_of"]:
            source = market.truth[row["duplicate_of"]]
            assert all(row[name] == source[name] for name in (*ATTRIBUTES, "category", "lang"))
            assert names[product] != names[row["duplicate_of"]]
            for mine, theirs in zip(row["pictures"], source["pictures"], strict=True):
                pixels = [
                    np.asarray(Image.open(io.BytesIO((market.folder / n).read_bytes())), float) for n in (mine, theirs)
                ]
                assert 0 < np.abs(pixels[0] - pixels[1]).mean() < 12


def test_every_fault_of_an_event_is_there(market) -> None:
    assert set(market.summary.bad_events) == {*ROTTEN_EVENT_KINDS, "duplicate_event"}
    lines = market.raw_lines("events.jsonl")
    assert len(lines) == sum(market.summary.events.values()) + sum(market.summary.bad_events.values())
    faults = {d["line"]: d["kind"] for d in market.rows("defects.jsonl") if d["file"] == "events.jsonl"}
    seen = set()
    for number, line in enumerate(lines, start=1):
        kind = faults.get(number)
        if kind == "broken_json":
            with pytest.raises(json.JSONDecodeError):
                json.loads(line)
            continue
        row = json.loads(line)
        assert (row.get("event_id") in seen) == (kind == "duplicate_event")
        seen.add(row.get("event_id", number))
        is_sound = (
            row["product_id"] in market.truth
            and row["kind"] in ("impression", "click", "view", "add_to_cart", "purchase")
            and (row["dwell_ms"] is None or row["dwell_ms"] >= 0)
            and row["position"] >= 1
            and row["occurred_at"] < row["received_at"]
            and "event_id" in row
        )
        assert is_sound == (kind in (None, "duplicate_event")), (kind, row)


def test_noise_images_tell_nothing_but_texts_are_as_before(make_market) -> None:
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
        assert market.truth[row["pictures_show"]]["category"] != row["category"]


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    told = []
    config = MarketConfig(num_products=5, num_queries=5, num_sessions=5, image_px=32)
    write_market(config, tmp_path / "m", lambda *step: told.append(step))
    assert next(step for step in told if step[1] == step[2]) == ("products", 5, 5)
    assert {step[0] for step in told} == {"products", "queries", "sessions"}


def test_a_market_of_one_product_without_sessions_or_shares_is_legal(make_market) -> None:
    market = make_market(num_products=1, num_queries=30, num_sessions=0, share_rotten=0.0)
    assert market.summary.rotten == {}
    assert market.summary.events == {}
    assert len({q["text"] for q in market.queries if q["kind"] == "text"}) == 18
    assert set(market.judgments.values()) == {3}
    empty = make_market("no queries", num_products=3, num_queries=0, num_sessions=9)
    assert (empty.folder / "events.jsonl").read_bytes() == b""


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty; a market is written into an empty folder: remove it"):
        write_market(MarketConfig(num_products=1), tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_products": 0}, r"num_products is 0; allowed: 1 to 1000000"),
        ({"seed": -1}, r"seed is -1; allowed: 0 to"),
        ({"num_queries": -5}, r"num_queries is -5; allowed: 0 to"),
        ({"image_px": 8}, r"image_px is 8; allowed: 32 to 1024"),
        ({"images": "fake"}, r"images is 'fake'; allowed: 'true', 'noise', 'contradict'"),
        ({"share_rotten": 0.6}, r"share_rotten is 0\.6; allowed: 0 to 0\.5"),
        ({"share_repeated_events": -0.1}, r"share_repeated_events is -0\.1; allowed: 0 to 0\.5"),
        ({"share_without_image": 0.5}, r"are \(0\.5, 0\.01, 0\.02\); allowed: each 0 or more, together 0\.5 at most"),
        ({"share_bad_image": -0.01}, r"allowed: each 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings, words) -> None:
    with pytest.raises(ValueError, match=words):
        MarketConfig(**settings)
