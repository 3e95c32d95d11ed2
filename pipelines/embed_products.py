"""products -> text_embeddings and image_embeddings: one unit vector per text and per picture, only for content not embedded before."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.parquet as pq

from intarsia.config import check_range, setting, to_jsonable
from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.inputs import TextField, product_text
from intarsia.encoders.lake_models import IMAGE_TOWERS, TEXT_TOWERS, resolve_lake_model
from intarsia.encoders.open import open_image_encoder, open_text_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.encoders.store import EmbeddingKey, VectorsByContent, known_vectors, write_vectors
from intarsia.ids import sha256_bytes
from intarsia.lake import Lake
from intarsia.onray.encoding import Actors, ImagePlace, encode_images, encode_texts
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, row_to_product
from intarsia.tables.schema import TableSpec
from pipelines.job import Counts, Job, JobProgress, main


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedConfig:
    """Which encoders, over which fields, on how many workers."""

    text: TextEncoderConfig = setting("text encoder", factory=TextEncoderConfig)
    image: ImageEncoderConfig = setting("image encoder", factory=ImageEncoderConfig)
    text_fields: tuple[TextField, ...] = setting(
        "what a product's text is made of, in this order: title, brand, category, attributes, description", ("title",)
    )
    num_workers: int = setting("actors that encode side by side, one CPU each; results do not depend on it", 2)
    gpus_per_worker: float = setting(
        "GPUs that each of them asks Ray for, 0.5 lets two share one; 0 encodes on CPUs; vectors differ by rounding",
        0.0,
    )
    unit_size: int = setting("texts or pictures per unit of work; changes the last bits of vectors, no more", 128)

    def __post_init__(self) -> None:
        if not self.text_fields:
            raise ValueError("text_fields is empty; allowed: at least one field")
        check_range(self, "num_workers", "unit_size", low=1)
        check_range(self, "gpus_per_worker", low=0)

    @property
    def actors(self) -> Actors:
        """Who encodes."""
        return Actors(num=self.num_workers, gpus_each=self.gpus_per_worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One modality's table: its rows, and how many different contents were encoded, known already, or could not be read."""

    places: Sequence[EmbeddingKey]
    num_encoded: int
    num_cached: int
    num_unreadable: int = 0


def run(config: EmbedConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Embed what is new, take the rest from the last run, write both tables in the order (product_id, view).

    The tables of the last run are a cache, not an input: were they listed in `reads`, the job would never be up to date.
    """
    config = replace(
        config,
        text=resolve_lake_model(config.text, TEXT_TOWERS, lake),
        image=resolve_lake_model(config.image, IMAGE_TOWERS, lake),
    )
    text = _embed_texts(config, lake, progress)
    image = _embed_images(config, lake, progress)
    return {
        "products": len(text.places),
        "texts_encoded": text.num_encoded,
        "texts_from_cache": text.num_cached,
        "pictures": len(image.places),
        "pictures_encoded": image.num_encoded,
        "pictures_from_cache": image.num_cached,
        "pictures_unreadable": image.num_unreadable,
        "without_image": len(text.places) - len({place.product_id for place in image.places}),
    }


def _embed_texts(config: EmbedConfig, lake: Lake, progress: JobProgress) -> Embedded:
    encoder = open_text_encoder(config.text)  # here only for its space and width; the actors open their own
    notes = {"encoder": to_jsonable(config.text), "text_fields": list(config.text_fields)}
    encode = functools.partial(encode_texts, config.text, unit_size=config.unit_size, actors=config.actors)
    tell = functools.partial(progress, "texts")
    return _embed(TEXT_EMBEDDINGS, encoder, *_find_texts(config.text_fields, lake), encode, tell, lake, notes)


def _embed_images(config: EmbedConfig, lake: Lake, progress: JobProgress) -> Embedded:
    encoder = open_image_encoder(config.image)
    notes = {"encoder": to_jsonable(config.image)}
    encode = functools.partial(encode_images, config.image, unit_size=config.unit_size, actors=config.actors)
    tell = functools.partial(progress, "pictures")
    return _embed(IMAGE_EMBEDDINGS, encoder, *_find_images(lake), encode, tell, lake, notes)


def _embed(
    spec: TableSpec,
    encoder: Encoder[Any],
    places: Sequence[EmbeddingKey],
    contents: Mapping[str, object],
    encode: Callable[..., VectorsByContent],
    tell: Callable[..., None],
    lake: Lake,
    notes: Mapping[str, object],
) -> Embedded:
    """What both modalities share: take the known vectors of `contents` by digest, encode the others, publish the table."""
    known = known_vectors(spec, lake, encoder.space_id, contents)
    fresh = {digest: content for digest, content in contents.items() if digest not in known}
    found = encode(fresh, tell=functools.partial(tell, total=len(fresh)))
    with lake.publish(spec.name, {**notes, "space_id": encoder.space_id, "dim": encoder.dim}) as folder:
        kept = write_vectors(spec, folder, places, {**known, **found}, encoder.space_id)
    return Embedded(places=kept, num_encoded=len(found), num_cached=len(known), num_unreadable=len(fresh) - len(found))


def _find_texts(fields: Sequence[TextField], lake: Lake) -> tuple[list[EmbeddingKey], dict[str, str]]:
    """Every product's row to be, and each different text by its digest."""
    places: list[EmbeddingKey] = []
    texts: dict[str, str] = {}
    for batch in PRODUCTS.batches(lake.current("products"), COLUMNS_WITHOUT_IMAGE_BYTES):
        for row in batch.to_pylist():
            text = product_text(row_to_product(row)[0], fields)
            digest = sha256_bytes(text.encode())
            texts[digest] = text
            places.append(EmbeddingKey(row["product_id"], 0, digest))
    return places, texts


def _find_images(lake: Lake) -> tuple[list[EmbeddingKey], dict[str, ImagePlace]]:
    """Every view's row to be, and for each different picture the first place that holds its bytes; no bytes are read."""
    places: list[EmbeddingKey] = []
    images: dict[str, ImagePlace] = {}
    for part in PRODUCTS.parts(lake.current("products")):
        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                columns = file.read_row_group(group, columns=["product_id", "images.list.element.sha256"])
                for number, row in enumerate(columns.to_pylist()):
                    for view, image in enumerate(row["images"] or ()):
                        places.append(EmbeddingKey(row["product_id"], view, image["sha256"]))
                        images.setdefault(image["sha256"], ImagePlace(part, group, number, view))
    return places, images


JOB = Job(
    name="embed_products",
    summary="clean products -> a unit vector of every text and every picture",
    config=EmbedConfig,
    reads=("products",),
    optional_reads=(*TEXT_TOWERS, *IMAGE_TOWERS),
    writes=("text_embeddings", "image_embeddings"),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
