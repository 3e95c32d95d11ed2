"""What requests and replies look like in JSON, and the way to and from records: pydantic lives here alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from intarsia.ids import EventId, ProductId, ReleaseId, RequestId
from intarsia.records.event import Event, EventKind
from intarsia.records.query import Filters, Query
from intarsia.text import clean, detect_locale

MAX_TEXT_CHARS = 512
MAX_NAMES = 100
_DEEPEST_OFFSET = 100_000
_LARGEST_PRICE = 10**15
_CLOCK_SKEW = timedelta(minutes=5)

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(max_length=MAX_NAMES)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\w.:\-]+$")]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS), AfterValidator(clean)]
"""Words as a person sees them: what holds only spaces and control characters is no text."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FiltersIn(_Strict):
    """What a product must be; an empty filter allows everything. Prices are minor units (cents, fen)."""

    category: Annotated[list[Name], Field(max_length=10)] = Field(default=[], description="path prefix, top first")
    brands: Names = Field(default=[], description="alternatives")
    price_min: int | None = Field(default=None, ge=0, le=_LARGEST_PRICE)
    price_max: int | None = Field(default=None, ge=0, le=_LARGEST_PRICE)
    attributes: dict[Name, Names] = Field(default={}, max_length=MAX_NAMES, description="name -> alternative values")
    in_stock: bool | None = None
    exclude: Annotated[list[Name], Field(max_length=1_000)] = Field(default=[], description="product ids")

    @model_validator(mode="after")
    def _prices_in_order(self) -> FiltersIn:
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError(f"price_min {self.price_min} is above price_max {self.price_max}")
        return self

    def to_record(self) -> Filters:
        """The filters of a query."""
        return Filters(
            category=tuple(self.category),
            brands=tuple(self.brands),
            price_min=self.price_min,
            price_max=self.price_max,
            attributes={name: tuple(values) for name, values in self.attributes.items()},
            in_stock=self.in_stock,
            exclude=tuple(ProductId(p) for p in self.exclude),
        )


class _Page(_Strict):
    """What every request for a page of hits may say."""

    filters: FiltersIn = FiltersIn()
    facets: Annotated[list[Name], Field(max_length=20)] = Field(
        default=[], description="category, brand, price, in_stock, attributes.<name>: counted over all matches"
    )
    locale: Literal["zh", "en"] | None = Field(default=None, description="guessed from the text when not given")
    offset: int = Field(default=0, ge=0, le=_DEEPEST_OFFSET)
    limit: int = Field(default=20, ge=1, le=1_000, description="hits on this page; the server may allow fewer")
    explain: bool = Field(default=False, description="with the share of every feature in the score")
    request_id: Identifier | None = Field(default=None, description="made up when not given")
    user_id: Identifier | None = None
    session_id: Identifier | None = None


class SearchRequest(_Page):
    """A search by words, by picture, or both."""

    text: Text | None = None
    image_base64: str | None = Field(
        default=None, description="a JPEG, PNG, WebP or GIF file; as multipart: the part `image`"
    )

    def to_query(self, *, image: bytes | None, request_id: RequestId, asked_at: datetime) -> Query:
        """The record; at least one of text and image is there."""
        return _query(self, text=self.text or None, image=image, seeds=(), request_id=request_id, asked_at=asked_at)


class SimilarRequest(_Page):
    """The products most like one product."""

    def to_query(self, *, seed: ProductId, request_id: RequestId, asked_at: datetime) -> Query:
        """The record."""
        return _query(self, text=None, image=None, seeds=(seed,), request_id=request_id, asked_at=asked_at)


def _query(
    asked: _Page,
    *,
    text: str | None,
    image: bytes | None,
    seeds: tuple[ProductId, ...],
    request_id: RequestId,
    asked_at: datetime,
) -> Query:
    return Query(
        request_id=request_id,
        text=text,
        image=image,
        seed_product_ids=seeds,
        user_id=asked.user_id,
        session_id=asked.session_id,
        filters=asked.filters.to_record(),
        locale=asked.locale or detect_locale(text or ""),
        asked_at=asked_at,
        offset=asked.offset,
        limit=asked.limit,
        facets=tuple(asked.facets),
        explain=asked.explain,
    )


class EventIn(_Strict):
    """What a shopper did with one product of one page; `event_id` is the caller's, so that sending it again counts once."""

    event_id: Identifier
    request_id: Identifier
    release_id: Identifier
    kind: EventKind
    product_id: Name
    position: int | None = Field(default=None, ge=1, le=_DEEPEST_OFFSET, description="from 1, over all pages")
    value: float | None = Field(default=None, allow_inf_nan=False, description="a rating or an amount")
    dwell_ms: int | None = Field(default=None, ge=0, le=86_400_000)
    user_id: Identifier | None = None
    session_id: Identifier | None = None
    occurred_at: AwareDatetime | None = Field(default=None, description="ISO 8601 with time zone; not given: now")

    def to_record(self, *, received_at: datetime) -> Event:
        """The record; a clock that runs up to five minutes ahead is set back to the time of arrival.

        Raises:
            ValueError: the event lies further in the future.
        """
        occurred_at = (self.occurred_at or received_at).astimezone(UTC)
        if occurred_at > received_at + _CLOCK_SKEW:
            raise ValueError(f"occurred_at {occurred_at.isoformat()} is in the future; it is {received_at.isoformat()}")
        return Event(
            event_id=EventId(self.event_id),
            request_id=RequestId(self.request_id),
            release_id=ReleaseId(self.release_id),
            kind=self.kind,
            product_id=ProductId(self.product_id),
            position=self.position,
            value=self.value,
            dwell_ms=self.dwell_ms,
            user_id=self.user_id,
            session_id=self.session_id,
            occurred_at=min(occurred_at, received_at),
            received_at=received_at,
        )


class PriceOut(BaseModel):
    """An amount in minor units of an ISO 4217 currency."""

    minor_units: int
    currency: str


class Explanation(BaseModel):
    """Why a product is where it is: each retriever that returned it with its rank; with `explain`, shares that sum to the score."""

    retrievers: dict[str, int]
    image_number: int | None = Field(description="the picture that matched best")
    fused: float
    contributions: dict[str, float] | None = None
    bias: float | None = None


class HitOut(BaseModel):
    """One product on a page; `position` counts from 1 over all pages."""

    product_id: str
    title: str
    brand: str
    category: list[str]
    price: PriceOut | None
    in_stock: bool | None
    image: str | None
    position: int
    score: float
    explanation: Explanation


class FacetValueOut(BaseModel):
    """One value and how many of all matches have it."""

    value: str
    count: int


class SearchReply(BaseModel):
    """A page: `total` counts all matches, `reachable` those that paging can reach; `degraded` says which step had to be done without."""

    request_id: str
    release_id: str
    total: int
    reachable: int
    offset: int
    limit: int
    hits: list[HitOut]
    facets: dict[str, list[FacetValueOut]]
    degraded: list[str]


class ProductReply(BaseModel):
    """One product as the shop shows it."""

    product_id: str
    release_id: str
    title: str
    description: str
    brand: str
    category: list[str]
    price: PriceOut | None
    in_stock: bool | None
    attributes: dict[str, list[str]]
    images: list[str]


class EventProblem(BaseModel):
    """Why one event was not taken."""

    index: int
    field: str
    message: str


class EventsReply(BaseModel):
    """How many events are on disk, and which were not taken."""

    accepted: int
    rejected: list[EventProblem]


class ReleaseReply(BaseModel):
    """What is being served, and how."""

    release_id: str
    created_at: str
    parent: str | None
    num_products: int
    stats_as_of: str | None
    feature_fingerprint: str
    space_ids: dict[str, str]
    topology: str
    facets: list[str] = Field(description="every facet this catalog has")
