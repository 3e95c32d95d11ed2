"""Absolute price, and price among the candidates of the same currency. NaN without a price."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.definition import Feature, feature
from intarsia.maths.arrays import Floats


def price_features() -> Iterator[Feature]:
    """Absolute, relative, by rank."""
    yield from (price_log, price_to_median, price_percentile)


@feature(version=1, reads=("price_minor",))
def price_log(price_minor: Floats) -> Floats:
    """log(1 + price in minor units)."""
    return np.log1p(price_minor)


@feature(version=1, reads=("price_minor", "price_median"))
def price_to_median(price_minor: Floats, price_median: Floats) -> Floats:
    """Log of the price over the candidates' median price; above 0 is more expensive than most."""
    return np.log1p(price_minor) - np.log1p(price_median)


@feature(version=1, reads=("num_cheaper", "num_equal", "num_priced"))
def price_percentile(num_cheaper: Floats, num_equal: Floats, num_priced: Floats) -> Floats:
    """Share of the candidates that are cheaper; those of the same price (itself included) count half."""
    return (num_cheaper + 0.5 * num_equal) / num_priced
