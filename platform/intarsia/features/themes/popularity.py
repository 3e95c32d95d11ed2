"""Shoppers' behaviour, as of the release. NaN if the shop has no recorded events; 0 for a product without any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.definition import Feature, feature
from intarsia.maths.arrays import Floats

_PRIOR_IMPRESSIONS = 20.0  # strength of the prior: impressions at the shop's mean rate, added to those of the product


def popularity_features() -> Iterator[Feature]:
    """Counts, rates, time spent."""
    yield from (impressions_log, views_log, carts_log, purchases_log, click_rate, dwell_log)


@feature(version=1, reads=("impression",))
def impressions_log(impression: Floats) -> Floats:
    """log(1 + impressions)."""
    return np.log1p(impression)


@feature(version=1, reads=("view", "click"))
def views_log(view: Floats, click: Floats) -> Floats:
    """log(1 + views and clicks)."""
    return np.log1p(view + click)


@feature(version=1, reads=("add_to_cart",))
def carts_log(add_to_cart: Floats) -> Floats:
    """log(1 + additions to a cart)."""
    return np.log1p(add_to_cart)


@feature(version=1, reads=("purchase",))
def purchases_log(purchase: Floats) -> Floats:
    """log(1 + purchases)."""
    return np.log1p(purchase)


@feature(version=1, reads=("click", "impression", "shop_click_rate"))
def click_rate(click: Floats, impression: Floats, shop_click_rate: Floats) -> Floats:
    """Clicks per impression, shrunk to the shop's mean rate while there are few impressions."""
    return (click + _PRIOR_IMPRESSIONS * shop_click_rate) / (impression + _PRIOR_IMPRESSIONS)


@feature(version=1, reads=("dwell_ms",))
def dwell_log(dwell_ms: Floats) -> Floats:
    """log(1 + mean time spent in ms)."""
    return np.log1p(dwell_ms)
