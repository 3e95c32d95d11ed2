"""Time, language and kind of the request."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.definition import Feature, feature
from intarsia.maths.arrays import Floats

_SECONDS_PER_DAY = 86_400.0


def circumstance_features() -> Iterator[Feature]:
    """Freshness, language, kind of query."""
    yield from (days_since_update, locale_agrees, query_has_text, query_has_image)


@feature(version=1, reads=("asked_at_s", "updated_at_s"))
def days_since_update(asked_at_s: Floats, updated_at_s: Floats) -> Floats:
    """Days from the product's last change to the request; 0 if it was changed later, NaN if unknown."""
    age_s: Floats = np.maximum(asked_at_s - updated_at_s, 0.0)
    return age_s / _SECONDS_PER_DAY


@feature(version=1, reads=("query_is_zh", "is_zh"))
def locale_agrees(query_is_zh: Floats, is_zh: Floats) -> Floats:
    """1 if query and product have the same language, else 0."""
    return np.equal(query_is_zh, is_zh).astype(np.float64)


@feature(version=1, reads=("query_has_text",))
def query_has_text(query_has_text: Floats) -> Floats:
    """1 if the query has a text, else 0."""
    return query_has_text


@feature(version=1, reads=("query_has_image",))
def query_has_image(query_has_image: Floats) -> Floats:
    """1 if the query has an image, else 0."""
    return query_has_image
