"""Simulate shopping sessions with a documented click model: impressions, clicks, dwell times, carts and purchases.

The click model is position-based: a product is clicked when its position is examined and it attracts, independently,

    P(click | product i at position p, query q) = examination(p) * attraction(i, q)
    examination(p) = (1 / p) ** eta                                     p = 1, 2, …
    attraction(i, q) = by_gain[gain(i, q)] * (1 + appeal_weight * (2 * appeal_i - 1))

`appeal_i` in 0..1 is the rank of the popularity of the product. It is independent of the gain, so clicks depend on
something that the judgments do not contain. A clicked product is viewed (dwell time), and may be added to the cart and
bought; see `ShopperModel`.

Source: Craswell, Zoeter, Taylor and Ramsey, WSDM 2008, the position hypothesis (doi:10.1145/1341531.1341545); Joachims,
Swaminathan and Schnabel, WSDM 2017, the examination 1 / p ** eta (doi:10.1145/3018661.3018699).

Letters: C candidates of a query, P positions on a page.
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

_MAX_CANDIDATES = 60  # retrieval depth of the logging policy
_SESSIONS_PER_USER = 3
_PAGE_MS = 400  # from the query to the page
_THINK_MS = 4_000  # mean time between two actions
_SHARE_LATE, _LATE_HOURS = 0.02, 48


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopperModel:
    """Parameters of the simulation, written to truth.json. Tuples by gain hold the values for gain 0, 1, 2, 3."""

    page_size: int = setting("products per page", 10)
    eta: float = setting("steepness of the examination; 0: every position is examined", 0.8)
    attraction_by_gain: tuple[float, float, float, float] = setting(
        "probability of a click when examined", (0.04, 0.15, 0.4, 0.7)
    )
    appeal_weight: float = setting("effect of popularity on attraction, 0..1", 0.4)
    cart_by_gain: tuple[float, float, float, float] = setting(
        "probability of the cart after a click", (0.03, 0.08, 0.18, 0.35)
    )
    purchase_after_cart: float = setting("probability of a purchase after the cart", 0.45)
    dwell_median_ms_by_gain: tuple[float, float, float, float] = setting(
        "median of the log-normal dwell time in ms", (6_000.0, 12_000.0, 25_000.0, 45_000.0)
    )
    dwell_sigma: float = setting("standard deviation of the logarithm of the dwell time", 0.6)
    logger_noise: float = setting(
        "standard deviation of the fixed error, per query and product, of the gain in the logging policy", 1.0
    )
    logger_jitter: float = setting("standard deviation of the error that is drawn for every page", 0.4)
    logger_popularity: float = setting("weight of the appeal in the logging policy", 0.6)
    query_zipf: float = setting("exponent of the Zipf distribution of queries", 0.8)
    own_department_factor: float = setting("how many times as often a shopper searches in their two departments", 4.0)
    other_language_factor: float = setting(
        "how often a shopper searches in the other language, relative to their own", 0.03
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """One event of a session; times in ms since START."""

    kind: str
    product: int
    position: int
    value: float | None
    dwell_ms: int | None
    occurred_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One page that a shopper saw, with its events."""

    request_id: str
    session_id: str
    user_id: str
    query: GeneratedQuery
    request_ms: int
    events: list[LoggedEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class _QueryCandidates:
    """Candidates of one query, sorted by the fixed score of the logging policy."""

    query: GeneratedQuery
    products_C: NDArray[np.int64]
    gain_C: NDArray[np.int8]
    score_C: Floats


@dataclass(slots=True)
class LogSimulator:
    """Simulates the event log of a shop for the train queries.

    The logging policy orders by gain + fixed error + popularity + an error per page. Queries are added one by one, so
    that the gains of the whole catalog are held for one query at a time.
    """

    truth: MarketTruth
    seed: int
    model: ShopperModel = field(default_factory=ShopperModel)
    _candidates: list[_QueryCandidates] = field(default_factory=list)

    def add(self, query: GeneratedQuery, gain_N: NDArray[np.int8]) -> None:
        """Add a query of the train split; the candidates are its positives and as many other products."""
        assert query.split == "train", "queries of validation and test must not occur in the log"
        rng = stream(self.seed, "shelf", len(self._candidates))
        positive = np.flatnonzero(gain_N)
        others = np.flatnonzero(gain_N == 0)
        others = rng.choice(others, min(len(positive), len(others)), replace=False)
        products = np.concatenate([positive, others])
        score = gain_N[products] + rng.normal(0, self.model.logger_noise, len(products))
        score += self.model.logger_popularity * (2 * self.truth.appeal[products] - 1)
        best = np.argsort(-score, kind="stable")[:_MAX_CANDIDATES]
        self._candidates.append(
            _QueryCandidates(query=query, products_C=products[best], gain_C=gain_N[products[best]], score_C=score[best])
        )

    def visits(self, num_sessions: int) -> Iterator[Visit]:
        """Yield the pages of all sessions, in the order the sessions start; a session has one to three pages."""
        if not self._candidates:
            return
        starts = stream(self.seed, "session starts").integers(0, NUM_DAYS * 86_400_000, num_sessions)
        distributions: dict[tuple[str, int, int], Floats] = {}
        num_users = max(1, num_sessions // _SESSIONS_PER_USER)
        num_requests = 0
        for session, start in enumerate(np.sort(starts).tolist()):
            rng = stream(self.seed, "session", session)
            user = int(rng.integers(num_users))
            chances = self._query_distribution(user, distributions)
            now = start
            for _ in range(1 + int(rng.choice(3, p=(0.5, 0.3, 0.2)))):
                candidates = self._candidates[int(np.searchsorted(chances, rng.random(), side="right"))]
                events, end = self._page(candidates, now, rng)
                yield Visit(
                    request_id=f"r{num_requests:07d}",
                    session_id=f"s{session:06d}",
                    user_id=f"u{user:06d}",
                    query=candidates.query,
                    request_ms=now,
                    events=events,
                )
                num_requests += 1
                now = end + int(rng.exponential(_THINK_MS))

    def click_probability(
        self, gain: NDArray[np.int8], products: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> Floats:
        """Click probability of shown products by the model above; all arrays have one length."""
        model = self.model
        attraction = np.asarray(model.attraction_by_gain)[gain]
        attraction = attraction * (1 + model.appeal_weight * (2 * self.truth.appeal[products] - 1))
        return np.asarray(attraction * (1.0 / positions) ** model.eta, np.float64)

    def _query_distribution(self, user: int, known: dict[tuple[str, int, int], Floats]) -> Floats:
        """Cumulative distribution over the queries of a user, who has a language and two departments."""
        rng = stream(self.seed, "user", user)
        locale = "zh" if rng.random() < 0.5 else "en"
        first, second = (int(d) for d in rng.choice(len(DEPARTMENTS), 2, replace=False))
        if (locale, first, second) not in known:
            weights = np.empty(len(self._candidates))
            order = stream(self.seed, "query fame").permutation(len(self._candidates))
            for number, candidates in enumerate(self._candidates):
                department = DEPARTMENTS.index(CATEGORIES[CATEGORY_INDEX[candidates.query.category]].parents[0])
                weights[number] = (1.0 + order[number]) ** -self.model.query_zipf
                weights[number] *= self.model.own_department_factor if department in (first, second) else 1.0
                weights[number] *= 1.0 if candidates.query.locale == locale else self.model.other_language_factor
            chances = np.cumsum(weights / weights.sum())
            chances[-1] = 1.0  # against rounding: a draw of 0.999... must select a query
            known[locale, first, second] = chances
        return known[locale, first, second]

    def _page(
        self, candidates: _QueryCandidates, request_ms: int, rng: np.random.Generator
    ) -> tuple[list[LoggedEvent], int]:
        """(events of a page, end of the visit in ms)."""
        model = self.model
        score_C = candidates.score_C + rng.normal(0, model.logger_jitter, len(candidates.score_C))
        shown_P = np.argsort(-score_C, kind="stable")[: model.page_size]
        products_P, gain_P = candidates.products_C[shown_P], candidates.gain_C[shown_P]
        position_P = np.arange(1, len(shown_P) + 1)
        clicked_P = rng.random(len(shown_P)) < self.click_probability(gain_P, products_P, position_P)
        time_ms = request_ms + _PAGE_MS
        events = [_event("impression", int(i), p, time_ms, rng) for p, i in enumerate(products_P, start=1)]
        for p in np.flatnonzero(clicked_P).tolist():
            product, gain, position = int(products_P[p]), int(gain_P[p]), p + 1
            time_ms += 1 + int(rng.exponential(_THINK_MS))
            events.append(_event("click", product, position, time_ms, rng))
            dwell_ms = int(model.dwell_median_ms_by_gain[gain] * rng.lognormal(0, model.dwell_sigma))
            events.append(_event("view", product, position, time_ms + 1, rng, dwell_ms=dwell_ms))
            time_ms += 1 + dwell_ms
            if rng.random() < model.cart_by_gain[gain]:
                quantity = float(rng.choice(3, p=(0.85, 0.12, 0.03)) + 1)
                events.append(_event("add_to_cart", product, position, time_ms, rng, value=quantity))
                if rng.random() < model.purchase_after_cart:
                    time_ms += 1 + int(rng.exponential(10 * _THINK_MS))
                    events.append(_event("purchase", product, position, time_ms, rng, value=quantity))
        return events, time_ms


def _event(
    kind: str,
    product: int,
    position: int,
    occurred_ms: int,
    rng: np.random.Generator,
    *,
    value: float | None = None,
    dwell_ms: int | None = None,
) -> LoggedEvent:
    """An event with its time of receipt: within seconds, or up to 48 hours later from a phone that was offline."""
    delay = rng.exponential(800) if rng.random() >= _SHARE_LATE else rng.uniform(0, _LATE_HOURS * 3_600_000)
    return LoggedEvent(
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
