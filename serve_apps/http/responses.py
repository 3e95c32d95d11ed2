"""From records to HTTP responses: the response schemas, and a page, a product or a release in them."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import BaseModel, Field

from intarsia.catalog.documents import Document
from intarsia.records.page import Hit
from serve_apps.service.releases import IngressRelease
from serve_apps.service.search_service import SearchResult

_BIAS = ""  # the name of the bias among the contributions of a hit
_IMAGE_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"BM": "image/bmp"}


class PriceOut(BaseModel):
    """An amount in minor units of an ISO 4217 currency."""

    minor_units: int
    currency: str


class Explanation(BaseModel):
    """Why a product has its position.

    `retrievers` maps each retriever that returned the product to its rank. With `explain`, `contributions` and `bias`
    sum to the score.
    """

    retrievers: dict[str, int]
    image_number: int | None = Field(description="the image that matched best")
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
    """One value of a facet, and how many of all matches have it."""

    value: str
    count: int


class SearchReply(BaseModel):
    """A page of hits.

    `total` counts all matches, `reachable` those that paging can reach; `degraded` names the steps that were skipped
    or replaced.
    """

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
    """One product."""

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
    """Why one event was rejected."""

    index: int
    field: str
    message: str


class EventsReply(BaseModel):
    """How many events are on disk, and which were rejected."""

    accepted: int
    rejected: list[EventProblem]


class ReleaseReply(BaseModel):
    """The release that is served, and the topology."""

    release_id: str
    created_at: str
    parent: str | None
    num_products: int
    stats_as_of: str | None
    feature_fingerprint: str
    space_ids: dict[str, str]
    topology: str
    facets: list[str] = Field(description="every facet of this catalog")


def search_reply(result: SearchResult, *, offset: int, limit: int) -> SearchReply:
    """Format a page. The same page gives the same bytes, so durations are in a header."""
    page = result.page
    documents = result.release.documents.get([hit.row for hit in page.hits])
    return SearchReply(
        request_id=page.request_id,
        release_id=page.release_id,
        total=page.total,
        reachable=page.reachable,
        offset=offset,
        limit=limit,
        hits=[_hit(hit, document) for hit, document in zip(page.hits, documents, strict=True)],
        facets={
            name: [FacetValueOut(value=facet.value, count=facet.count) for facet in values]
            for name, values in page.facets.items()
        },
        degraded=list(page.degraded),
    )


def product_reply(release: IngressRelease, row: int) -> ProductReply:
    """Format the product of a row."""
    document = release.documents.get([row])[0]
    return ProductReply(
        product_id=document.product_id,
        release_id=release.release_id,
        title=document.title,
        description=document.description,
        brand=document.brand,
        category=list(document.category_path),
        price=_price(document),
        in_stock=document.in_stock,
        attributes={name: list(values) for name, values in document.attributes.items()},
        images=[image_url(document.product_id, number) for number in range(document.num_images)],
    )


def release_reply(release: IngressRelease, topology: str) -> ReleaseReply:
    """Format the release."""
    manifest = release.manifest
    return ReleaseReply(
        release_id=manifest.release_id,
        created_at=manifest.created_at,
        parent=manifest.parent,
        num_products=manifest.num_products,
        stats_as_of=manifest.stats_as_of,
        feature_fingerprint=manifest.feature_fingerprint,
        space_ids=dict(manifest.space_ids),
        topology=topology,
        facets=list(release.filters.facet_names),
    )


def image_url(product_id: str, number: int) -> str:
    """Return the path of one image of a product.

    >>> image_url("a/b c", 0)
    '/v1/products/a%2Fb%20c/images/0'
    """
    return f"/v1/products/{quote(product_id, safe='')}/images/{number}"


def image_type(content: bytes) -> str:
    """Return the media type of an image by its first bytes; never a type that a browser executes.

    >>> image_type(b"<svg onload=alert(1)>")
    'application/octet-stream'
    """
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _IMAGE_TYPES.items() if content.startswith(magic)), "application/octet-stream")


def _hit(hit: Hit, document: Document) -> HitOut:
    contributions = dict(hit.contributions) if hit.contributions is not None else None
    bias = contributions.pop(_BIAS, None) if contributions is not None else None
    image_number = hit.image_number if hit.image_number is not None else 0
    return HitOut(
        product_id=document.product_id,
        title=document.title,
        brand=document.brand,
        category=list(document.category_path),
        price=_price(document),
        in_stock=document.in_stock,
        image=image_url(document.product_id, image_number) if image_number < document.num_images else None,
        position=hit.position,
        score=hit.score,
        explanation=Explanation(
            retrievers=dict(hit.retrievers),
            image_number=hit.image_number,
            fused=hit.fused,
            contributions=contributions,
            bias=bias,
        ),
    )


def _price(document: Document) -> PriceOut | None:
    price = document.price
    return None if price is None else PriceOut(minor_units=price.minor_units, currency=price.currency)
