"""What a generated market is asked to be. How it is made from that is the business of the other modules here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from intarsia.config import setting

Images = Literal["true", "noise", "contradict"]

_MAX_PRODUCTS = 1_000_000  # six digits in a product id
_MIN_IMAGE_PX, _MAX_IMAGE_PX = 32, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketConfig:
    """A market's seed, sizes and shares of defects; equal configs give equal bytes.

    Raises:
        ValueError: a size or share is outside its range; the message names the field, the value and what is allowed.
    """

    seed: int = setting("all draws follow from it; 0 or more", 7)
    num_products: int = setting("valid products; rotten rows come on top", 3000)
    num_queries: int = setting(
        "judged queries: 60 % text, 20 % picture, 20 % both; 60/20/20 train/validation/test", 600
    )
    num_sessions: int = setting("shopping sessions behind the events; 0 writes an empty events file", 4000)
    images: Images = setting(
        "'true': pictures show their product; 'noise': pictures are noise; 'contradict': each product has the pictures of "
        "another one. Pictures of queries are true in all three",
        "true",
    )
    share_without_image: float = setting("share of the products that have no picture", 0.08)
    share_rotten: float = setting("share of rotten rows among all rows; their kinds take turns", 0.03)
    share_bad_image: float = setting(
        "share of the products whose first picture is unusable; the kinds take turns", 0.01
    )
    share_near_duplicates: float = setting("share of the products that nearly repeat an earlier one", 0.02)
    share_rotten_events: float = setting("share of rotten lines among the events; no effect without sessions", 0.01)
    share_repeated_events: float = setting(
        "share of events sent twice, with one event_id; no effect without sessions", 0.005
    )
    image_px: int = setting("width and height of a picture in pixels", 160)

    def __post_init__(self) -> None:
        _check_range("seed", self.seed, 0, 2**63 - 1)
        _check_range("num_products", self.num_products, 1, _MAX_PRODUCTS)
        _check_range("num_queries", self.num_queries, 0, _MAX_PRODUCTS)
        _check_range("num_sessions", self.num_sessions, 0, 100 * _MAX_PRODUCTS)
        _check_range("image_px", self.image_px, _MIN_IMAGE_PX, _MAX_IMAGE_PX)
        if self.images not in ("true", "noise", "contradict"):
            raise ValueError(f"images is {self.images!r}; allowed: 'true', 'noise', 'contradict'")
        for name in ("share_rotten", "share_rotten_events", "share_repeated_events"):
            share = getattr(self, name)
            if not 0 <= share <= 0.5:
                raise ValueError(f"{name} is {share}; allowed: 0 to 0.5")
        shares = (self.share_without_image, self.share_bad_image, self.share_near_duplicates)
        if min(shares) < 0 or sum(shares) > 0.5:
            raise ValueError(
                f"share_without_image, share_bad_image, share_near_duplicates are {shares}; allowed: each 0 or more, "
                "together 0.5 at most, since no product has two of them"
            )


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; allowed: {low} to {high}")
