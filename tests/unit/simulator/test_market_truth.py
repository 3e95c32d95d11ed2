"""Judgments against an oracle that reads the truth file pair by pair; clicks against the documented model."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import numpy as np

from intarsia.simulator.assortment import CATEGORIES
from intarsia.simulator.shoppers import LogSimulator, ShopperModel
from intarsia.simulator.truth import draw_truth

PARENTS = {leaf.key: leaf.parents for leaf in CATEGORIES}


def oracle_gain(product, category, required) -> int:
    matched = [product[name] == value for name, value in required.items()]
    if product["category"] == category:
        if all(matched):
            return 3
        return 2 if any(matched) and sum(matched) / len(matched) >= 0.5 else 1
    return int(PARENTS[product["category"]] == PARENTS[category] and all(matched))


def test_judgments_equal_the_oracle_on_every_pair(market) -> None:
    for query in market.queries:
        truth = query["truth"]
        for product_id, product in market.truth.items():
            gain = oracle_gain(product, truth["category"], truth["asked"])
            assert market.judgments.get((query["query_id"], product_id), 0) == gain
    assert set(market.judgments.values()) == {0, 1, 2, 3}


def test_every_query_has_a_match_in_its_language_and_few_positives(market) -> None:
    gains = defaultdict(dict)
    for (query_id, product_id), gain in market.judgments.items():
        gains[query_id][product_id] = gain
    for query in market.queries:
        of_query = gains[query["query_id"]]
        assert any(g == 3 and market.truth[p]["lang"] == query["lang"] for p, g in of_query.items())
        assert sum(g > 0 for g in of_query.values()) <= 0.1 * market.config.num_products
        assert sum(g == 0 for g in of_query.values()) == 10


def test_kinds_splits_and_languages_have_their_shares(market) -> None:
    counts = Counter((q["kind"], q["split"]) for q in market.queries)
    assert counts == {
        (kind, split): round(num * share)
        for kind, num in (("text", 60), ("image", 20), ("both", 20))
        for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2))
    }
    assert 35 <= sum(q["lang"] == "zh" for q in market.queries) <= 65


def test_queries_have_the_parts_of_their_kind_and_unique_texts(market) -> None:
    for query in market.queries:
        assert (query["text"] is None) == (query["kind"] == "image")
        assert (query["image"] is None) == (query["kind"] == "text")
        assert query["image"] is None or (market.folder / query["image"]).stat().st_size > 0
        assert query["lang"] == "zh" or query["text"] is None or query["text"].isascii()
    texts = [q["text"].lower() for q in market.queries if q["kind"] == "text"]
    assert len(set(texts)) == len(texts)


def test_a_query_with_image_and_text_requires_what_its_image_lacks(market) -> None:
    both = [q["truth"] for q in market.queries if q["kind"] == "both"]
    overridden = [t for t in both if t["asked"]["colour"] != t["shown"]["colour"]]
    added = [t for t in both if set(t["asked"]) > {"colour", "pattern"}]
    assert len(overridden) + len(added) == len(both)
    assert overridden
    assert added
    assert all(t["asked"]["pattern"] == t["shown"]["pattern"] for t in both)


def test_the_log_holds_train_queries_only(market) -> None:
    train = {q["query_id"] for q in market.queries if q["split"] == "train"}
    logged = {row["query_id"] for row in market.rows("requests.jsonl")}
    assert logged <= train
    assert len(logged) > 0.8 * len(train)


def _events_by_product(market):
    """(request, product) -> (position, kinds of events), without the planned defects."""
    defects = {d["line"] for d in market.rows("defects.jsonl") if d["file"] == "events.jsonl"}
    events = defaultdict(lambda: [0, set()])
    for number, line in enumerate(market.raw_lines("events.jsonl"), start=1):
        if number not in defects:
            row = json.loads(line)
            events[row["request_id"], row["product_id"]][0] = row["position"]
            events[row["request_id"], row["product_id"]][1].add(row["kind"])
    return events


def test_click_rates_by_position_and_gain_follow_the_model(market) -> None:
    model = json.loads((market.folder / "truth.json").read_text(encoding="utf-8"))["click_model"]
    query_of = {row["request_id"]: row["query_id"] for row in market.rows("requests.jsonl")}
    expected, variance, clicked = defaultdict(float), defaultdict(float), Counter()
    for (request_id, product_id), (position, kinds) in _events_by_product(market).items():
        assert "impression" in kinds
        gain = market.judgments.get((query_of[request_id], product_id), 0)
        appeal = market.truth[product_id]["appeal"]
        chance = (1 / position) ** model["eta"] * model["attraction_by_gain"][gain]
        chance *= 1 + model["appeal_weight"] * (2 * appeal - 1)
        for group in (("position", position), ("gain", gain)):
            expected[group] += chance
            variance[group] += chance * (1 - chance)
            clicked[group] += "click" in kinds
    assert len(expected) == 10 + 4
    for group in expected:
        # four standard deviations of a sum of independent draws; the seed is fixed
        assert abs(clicked[group] - expected[group]) < 4 * variance[group] ** 0.5, group
    assert clicked["position", 1] > 2 * clicked["position", 10]


def test_events_of_a_product_follow_one_another(market) -> None:
    kinds = Counter()
    for _, kinds_of_product in _events_by_product(market).values():
        kinds.update(kinds_of_product)
        assert "purchase" not in kinds_of_product or "add_to_cart" in kinds_of_product
        assert "add_to_cart" not in kinds_of_product or {"click", "view"} <= kinds_of_product
        assert ("click" in kinds_of_product) == ("view" in kinds_of_product)
    assert kinds["impression"] > kinds["click"] > kinds["add_to_cart"] > kinds["purchase"] > 0
    for row in market.rows("requests.jsonl"):
        assert len(set(row["page"])) == len(row["page"]) == 10


def test_the_logging_policy_is_better_than_chance_but_not_perfect(market) -> None:
    mean_gain = defaultdict(list)
    for row in market.rows("requests.jsonl"):
        for position, product_id in enumerate(row["page"], start=1):
            mean_gain[position].append(market.judgments.get((row["query_id"], product_id), 0))
    first, last = np.mean(mean_gain[1]), np.mean(mean_gain[10])
    assert 0.3 + last < first < 2.95


def test_without_position_bias_the_position_does_not_matter(market) -> None:
    truth = draw_truth(market.config)
    simulator = LogSimulator(truth=truth, seed=1, model=ShopperModel(eta=0.0, appeal_weight=0.0))
    gain = np.array([3, 3, 0], np.int8)
    chances = simulator.click_probability(gain, np.array([5, 6, 7]), np.array([1, 10, 4]))
    assert chances.tolist() == [0.7, 0.7, 0.04]


def test_a_log_without_queries_has_no_visits(market) -> None:
    assert list(LogSimulator(truth=draw_truth(market.config), seed=1).visits(5)) == []
