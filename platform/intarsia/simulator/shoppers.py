"""Shoppers with a documented click model: what they were shown, where they clicked, what they bought, and how long they stayed.

**The click model** is the position-based one: a shown product is clicked when its place is examined *and* it attracts, independently,

    P(click | product i at position p, query q) = examination(p) * attraction(i, q)
    examination(p) = (1 / p) ** eta                                     p = 1, 2, …
    attraction(i, q) = by_gain[gain(i, q)] * (1 + appeal_weight * (2 * appeal_i - 1))

Source: the position hypothesis of Craswell, Zoeter, Taylor and Ramsey, WSDM 2008 (doi:10.1145/1341531.1341545); the 1 / p ** eta form of
the examination from Joachims, Swaminathan and Schnabel, WSDM 2017 (doi:10.1145/3018661.3018699). `appeal_i` in 0..1 is the rank of the
product's popularity, independent of the judged gain: shoppers have tastes that the judgments do not know.

A clicked product is viewed (dwell time), then perhaps put into the cart, then perhaps bought; see `ShopperModel`.
Letters: C candidates of a query, P places on a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from intarsia.config import setting
from intarsia.maths.arrays import Floats
from intarsia.simulator.assortment import CATEGORIES, CATEGORY_INDEX, DEPARTMENTS
from intarsia.simulator.queries import GeneratedQuery
from intarsia.simulator.random_streams import stream
from intarsia.simulator.truth import MarketTruth

START = np.datetime64("2026-01-01T00:00:00.000")  # UTC
NUM_DAYS = 28

_MAX_CANDIDATES = 60  # the logger's own depth
_SESSIONS_PER_USER = 3
_PAGE_MS = 400  # from the question to the page
_THINK_MS = 4_000  # mean time between two acts
_SHARE_LATE, _LATE_HOURS = 0.02, 48


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopperModel:
    """The parameters of the shoppers; written to truth.json as they stand. Tuples by gain hold the value for gain 0, 1, 2, 3."""

    page_size: int = setting("places on a page", 10)
    eta: float = setting("steepness of the examination; 0: every place is seen", 0.8)
    attraction_by_gain: tuple[float, float, float, float] = setting(
        "chance of a click when seen", (0.04, 0.15, 0.4, 0.7)
    )
    appeal_weight: float = setting("how far popularity moves attraction, 0..1", 0.4)
    cart_by_gain: tuple[float, float, float, float] = setting(
        "chance of the cart after a click", (0.03, 0.08, 0.18, 0.35)
    )
    purchase_after_cart: float = setting("chance of a purchase after the cart", 0.45)
    dwell_median_ms_by_gain: tuple[float, float, float, float] = setting(
        "median of the log-normal time on a product's page in ms", (6_000.0, 12_000.0, 25_000.0, 45_000.0)
    )
    dwell_sigma: float = setting("spread of the logarithm of that time", 0.6)
    logger_noise: float = setting(
        "standard deviation of the fixed error, per query and product, with which the logger knows the gain", 1.0
    )
    logger_jitter: float = setting("standard deviation of the error that is drawn anew for every page", 0.4)
    logger_popularity: float = setting("weight of the logger for the product's appeal", 0.6)
    query_zipf: float = setting("steepness of the law by which queries are asked", 0.8)
    home_factor: float = setting("how many times as often a shopper asks in the own two departments", 4.0)
    abroad_factor: float = setting("how often a shopper asks in the other language, against the own one", 0.03)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedAct:
    """One line of events.jsonl before it is written; times in ms since START."""

    kind: str
    product: int
    position: int
    value: float | None
    dwell_ms: int | None
    occurred_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One page that a shopper was shown, with all that followed."""

    request_id: str
    session_id: str
    user_id: str
    query: GeneratedQuery
    asked_ms: int
    acts: list[LoggedAct]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelf:
    """The logger's view of one query: its candidates by fixed score."""

    query: GeneratedQuery
    products_C: NDArray[np.int64]
    gain_C: NDArray[np.int8]
    score_C: Floats


@dataclass(slots=True)
class Shop:
    """The shop that the log comes from: train queries with what its plain, noisy ranker knows of them.

    The ranker orders by gain + fixed error + popularity + an error per page. Filled query by query, so that gains of the whole
    catalog are never held for more than one query.
    """

    truth: MarketTruth
    seed: int
    model: ShopperModel = field(default_factory=ShopperModel)
    _shelves: list[_Shelf] = field(default_factory=list)

    def add(self, query: GeneratedQuery, gain_N: NDArray[np.int8]) -> None:
        """Take in a query of the train split; the candidates are its positives and as many others."""
        assert query.split == "train", "shoppers never ask what is kept for validation and test"
        rng = stream(self.seed, "shelf", len(self._shelves))
        positive = np.flatnonzero(gain_N)
        others = np.flatnonzero(gain_N == 0)
        others = rng.choice(others, min(len(positive), len(others)), replace=False)
        products = np.concatenate([positive, others])
        score = gain_N[products] + rng.normal(0, self.model.logger_noise, len(products))
        score += self.model.logger_popularity * (2 * self.truth.appeal[products] - 1)
        best = np.argsort(-score, kind="stable")[:_MAX_CANDIDATES]
        shelf = _Shelf(query=query, products_C=products[best], gain_C=gain_N[products[best]], score_C=score[best])
        self._shelves.append(shelf)

    def visits(self, num_sessions: int) -> Iterator[Visit]:
        """All sessions in order of their beginning, each of one to three pages."""
        if not self._shelves:
            return
        starts = stream(self.seed, "session starts").integers(0, NUM_DAYS * 86_400_000, num_sessions)
        tastes: dict[tuple[str, int, int], Floats] = {}
        num_users = max(1, num_sessions // _SESSIONS_PER_USER)
        num_requests = 0
        for session, start in enumerate(np.sort(starts).tolist()):
            rng = stream(self.seed, "session", session)
            user = int(rng.integers(num_users))
            chances = self._taste(user, tastes)
            now = start
            for _ in range(1 + int(rng.choice(3, p=(0.5, 0.3, 0.2)))):
                shelf = self._shelves[int(np.searchsorted(chances, rng.random(), side="right"))]
                acts, end = self._page(shelf, now, rng)
                yield Visit(
                    request_id=f"r{num_requests:07d}",
                    session_id=f"s{session:06d}",
                    user_id=f"u{user:06d}",
                    query=shelf.query,
                    asked_ms=now,
                    acts=acts,
                )
                num_requests += 1
                now = end + int(rng.exponential(_THINK_MS))

    def click_chance(self, gain: NDArray[np.int8], products: NDArray[np.int64], positions: NDArray[np.int64]) -> Floats:
        """The click model (see the head of this file) for shown products, all arrays of one length."""
        model = self.model
        attraction = np.asarray(model.attraction_by_gain)[gain]
        attraction = attraction * (1 + model.appeal_weight * (2 * self.truth.appeal[products] - 1))
        return np.asarray(attraction * (1.0 / positions) ** model.eta, np.float64)

    def _taste(self, user: int, known: dict[tuple[str, int, int], Floats]) -> Floats:
        """Cumulated chances of the queries for a user, who has a language and two departments."""
        rng = stream(self.seed, "user", user)
        locale = "zh" if rng.random() < 0.5 else "en"
        first, second = (int(d) for d in rng.choice(len(DEPARTMENTS), 2, replace=False))
        if (locale, first, second) not in known:
            weights = np.empty(len(self._shelves))
            order = stream(self.seed, "query fame").permutation(len(self._shelves))
            for number, shelf in enumerate(self._shelves):
                department = DEPARTMENTS.index(CATEGORIES[CATEGORY_INDEX[shelf.query.category]].parents[0])
                weights[number] = (1.0 + order[number]) ** -self.model.query_zipf
                weights[number] *= self.model.home_factor if department in (first, second) else 1.0
                weights[number] *= 1.0 if shelf.query.locale == locale else self.model.abroad_factor
            chances = np.cumsum(weights / weights.sum())
            chances[-1] = 1.0  # against rounding: the lot 0.999… must find a query
            known[locale, first, second] = chances
        return known[locale, first, second]

    def _page(self, shelf: _Shelf, asked_ms: int, rng: np.random.Generator) -> tuple[list[LoggedAct], int]:
        """What is shown and what follows; the second value is when the shopper turns away, in ms."""
        model = self.model
        score_C = shelf.score_C + rng.normal(0, model.logger_jitter, len(shelf.score_C))
        shown_P = np.argsort(-score_C, kind="stable")[: model.page_size]
        products_P, gain_P = shelf.products_C[shown_P], shelf.gain_C[shown_P]
        position_P = np.arange(1, len(shown_P) + 1)
        clicked_P = rng.random(len(shown_P)) < self.click_chance(gain_P, products_P, position_P)
        at = asked_ms + _PAGE_MS
        acts = [_act("impression", int(i), p, at, rng) for p, i in enumerate(products_P, start=1)]
        for place in np.flatnonzero(clicked_P).tolist():
            product, gain, position = int(products_P[place]), int(gain_P[place]), place + 1
            at += 1 + int(rng.exponential(_THINK_MS))
            acts.append(_act("click", product, position, at, rng))
            dwell_ms = int(model.dwell_median_ms_by_gain[gain] * rng.lognormal(0, model.dwell_sigma))
            acts.append(_act("view", product, position, at + 1, rng, dwell_ms=dwell_ms))
            at += 1 + dwell_ms
            if rng.random() < model.cart_by_gain[gain]:
                pieces = float(rng.choice(3, p=(0.85, 0.12, 0.03)) + 1)
                acts.append(_act("add_to_cart", product, position, at, rng, value=pieces))
                if rng.random() < model.purchase_after_cart:
                    at += 1 + int(rng.exponential(10 * _THINK_MS))
                    acts.append(_act("purchase", product, position, at, rng, value=pieces))
        return acts, at


def _act(
    kind: str,
    product: int,
    position: int,
    occurred_ms: int,
    rng: np.random.Generator,
    *,
    value: float | None = None,
    dwell_ms: int | None = None,
) -> LoggedAct:
    """An act with the time at which the shop hears of it: within seconds, or hours later from a phone that was off line."""
    delay = rng.exponential(800) if rng.random() >= _SHARE_LATE else rng.uniform(0, _LATE_HOURS * 3_600_000)
    return LoggedAct(
        kind=kind,
        product=product,
        position=position,
        value=value,
        dwell_ms=dwell_ms,
        occurred_ms=occurred_ms,
        received_ms=occurred_ms + (dwell_ms or 0) + 1 + int(delay),
    )


def utc(ms: int) -> str:
    """Milliseconds since START as ISO time in UTC."""
    return f"{START + np.timedelta64(ms, 'ms')}Z"
