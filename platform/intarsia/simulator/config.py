"""Settings of a generated market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from intarsia.config import check_range, setting

Images = Literal["true", "noise", "contradict"]

_MAX_PRODUCTS = 1_000_000  # six digits in a product id
_MIN_IMAGE_PX, _MAX_IMAGE_PX = 32, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketConfig:
    """Seed, sizes and shares of defects of a market; equal configs give equal bytes.

    Raises:
        ValueError: a size or share is out of range.
    """

    seed: int = setting("random seed, 0 or more", 7)
    num_products: int = setting("valid products; bad rows are added to them", 3000)
    num_queries: int = setting("judged queries: 60 % text, 20 % image, 20 % both; 60/20/20 train/validation/test", 600)
    num_sessions: int = setting("shopping sessions in the event log; 0: an empty events file", 4000)
    images: Images = setting(
        "true: images show their product; noise: images are noise; contradict: each product has the images of "
        "another one. The images of queries are true in all three",
        "true",
        advanced=True,
    )
    share_without_image: float = setting("share of the products without an image", 0.08, advanced=True)
    share_bad_rows: float = setting("share of bad rows among all rows, all kinds in turn", 0.03, advanced=True)
    share_bad_image: float = setting(
        "share of the products whose first image is unusable, all kinds in turn", 0.01, advanced=True
    )
    share_near_duplicates: float = setting(
        "share of the products that are near-duplicates of another one", 0.02, advanced=True
    )
    share_bad_events: float = setting("share of bad lines among the events", 0.01, advanced=True)
    share_repeated_events: float = setting("share of events written twice with one event_id", 0.005, advanced=True)
    image_px: int = setting("width and height of an image in pixels", 160)

    def __post_init__(self) -> None:
        check_range(self, "seed", low=0, high=2**63 - 1)
        check_range(self, "num_products", low=1, high=_MAX_PRODUCTS)
        check_range(self, "num_queries", low=0, high=_MAX_PRODUCTS)
        check_range(self, "num_sessions", low=0, high=100 * _MAX_PRODUCTS)
        check_range(self, "image_px", low=_MIN_IMAGE_PX, high=_MAX_IMAGE_PX)
        if self.images not in ("true", "noise", "contradict"):
            raise ValueError(f"images is {self.images!r}; allowed: 'true', 'noise', 'contradict'")
        check_range(self, "share_bad_rows", "share_bad_events", "share_repeated_events", low=0, high=0.5)
        shares = (self.share_without_image, self.share_bad_image, self.share_near_duplicates)
        if min(shares) < 0 or sum(shares) > 0.5:
            raise ValueError(
                f"share_without_image, share_bad_image, share_near_duplicates are {shares}; allowed: each 0 or more, "
                "together 0.5 at most, since no product has two of them"
            )
