"""From records to replies: a page's hits with what the shop shows of them, one product, one release."""

from __future__ import annotations

from urllib.parse import quote

from intarsia.catalog.documents import Document
from intarsia.records.page import Hit
from serve_apps.http.schemas import (
    Explanation,
    FacetValueOut,
    HitOut,
    PriceOut,
    ProductReply,
    ReleaseReply,
    SearchReply,
)
from serve_apps.service.ingress_release import IngressRelease
from serve_apps.service.search_service import Answered

_BIAS = ""  # the name under which a hit's contributions carry the share that no feature has
_IMAGE_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"BM": "image/bmp"}


def search_reply(answered: Answered, *, offset: int, limit: int) -> SearchReply:
    """A page; the same page gives the same bytes (how long it took is in a header)."""
    page = answered.page
    documents = answered.front.documents.get([hit.row for hit in page.hits])
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


def product_reply(front: IngressRelease, row: int) -> ProductReply:
    """All that the shop shows of one product."""
    document = front.documents.get([row])[0]
    return ProductReply(
        product_id=document.product_id,
        release_id=front.release_id,
        title=document.title,
        description=document.description,
        brand=document.brand,
        category=list(document.category_path),
        price=_price(document),
        in_stock=document.in_stock,
        attributes={name: list(values) for name, values in document.attributes.items()},
        images=[image_url(document.product_id, number) for number in range(document.num_images)],
    )


def release_reply(front: IngressRelease, topology: str) -> ReleaseReply:
    """What is being served."""
    manifest = front.manifest
    return ReleaseReply(
        release_id=manifest.release_id,
        created_at=manifest.created_at,
        parent=manifest.parent,
        num_products=manifest.num_products,
        stats_as_of=manifest.stats_as_of,
        feature_fingerprint=manifest.feature_fingerprint,
        space_ids=dict(manifest.space_ids),
        topology=topology,
        facets=list(front.filters.facet_names),
    )


def image_url(product_id: str, number: int) -> str:
    """Where one picture of a product is."""
    return f"/v1/products/{quote(product_id, safe='')}/images/{number}"


def image_type(content: bytes) -> str:
    """The media type of a picture by its first bytes; never one that a browser would run."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _IMAGE_TYPES.items() if content.startswith(magic)), "application/octet-stream")


def _hit(hit: Hit, document: Document) -> HitOut:
    shares = dict(hit.contributions) if hit.contributions is not None else None
    bias = shares.pop(_BIAS, None) if shares is not None else None
    shown = hit.image_number if hit.image_number is not None else 0
    return HitOut(
        product_id=document.product_id,
        title=document.title,
        brand=document.brand,
        category=list(document.category_path),
        price=_price(document),
        in_stock=document.in_stock,
        image=image_url(document.product_id, shown) if shown < document.num_images else None,
        position=hit.position,
        score=hit.score,
        explanation=Explanation(
            retrievers=dict(hit.retrievers),
            image_number=hit.image_number,
            fused=hit.fused,
            contributions=shares,
            bias=bias,
        ),
    )


def _price(document: Document) -> PriceOut | None:
    price = document.price
    return None if price is None else PriceOut(minor_units=price.minor_units, currency=price.currency)
