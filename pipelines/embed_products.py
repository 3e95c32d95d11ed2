"""products -> text_embeddings and image_embeddings: unit vectors. Known texts and images are not encoded again."""

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
from intarsia.onray.encoding import EncoderActors, ImageLocation, encode_images, encode_texts
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, row_to_product
from intarsia.tables.schema import TableSpec
from pipelines.job import Counts, Job, JobProgress, main


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedConfig:
    """Encoders, text fields, and the workers that encode."""

    text: TextEncoderConfig = setting("text encoder", factory=TextEncoderConfig)
    image: ImageEncoderConfig = setting("image encoder", factory=ImageEncoderConfig)
    text_fields: tuple[TextField, ...] = setting(
        "fields that make up a product's text, in this order: title, brand, category, attributes, description",
        ("title",),
    )
    num_workers: int = setting("actors that encode in parallel, one CPU each; results do not depend on it", 2)
    gpus_per_worker: float = setting(
        "GPUs of an actor; with 0.5 two actors share one, with 0 they use CPUs; vectors differ by rounding only",
        0.0,
    )
    unit_size: int = setting("texts or images per work item; changes the last bits of vectors only", 128, advanced=True)

    def __post_init__(self) -> None:
        if not self.text_fields:
            raise ValueError("text_fields is empty; allowed: at least one field")
        check_range(self, "num_workers", "unit_size", low=1)
        check_range(self, "gpus_per_worker", low=0)

    @property
    def actors(self) -> EncoderActors:
        """The actors that encode."""
        return EncoderActors(num=self.num_workers, gpus_per_actor=self.gpus_per_worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingCounts:
    """Rows of a modality's table, and numbers of distinct contents: encoded, already known, and undecodable."""

    keys: Sequence[EmbeddingKey]
    num_encoded: int
    num_cached: int
    num_unreadable: int = 0


def run(config: EmbedConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Encode new contents, take the vectors of known ones from the last run, and write both tables.

    Their rows are sorted by product_id and view.

    The tables of the last run are a cache. They are not listed in `reads`, or the job would never be up to date.
    """
    config = replace(
        config,
        text=resolve_lake_model(config.text, TEXT_TOWERS, lake),
        image=resolve_lake_model(config.image, IMAGE_TOWERS, lake),
    )
    text = _embed_texts(config, lake, progress)
    image = _embed_images(config, lake, progress)
    return {
        "products": len(text.keys),
        "texts_encoded": text.num_encoded,
        "texts_from_cache": text.num_cached,
        "images": len(image.keys),
        "images_encoded": image.num_encoded,
        "images_from_cache": image.num_cached,
        "images_unreadable": image.num_unreadable,
        "without_image": len(text.keys) - len({key.product_id for key in image.keys}),
    }


def _embed_texts(config: EmbedConfig, lake: Lake, progress: JobProgress) -> EmbeddingCounts:
    encoder = open_text_encoder(config.text)  # for its space and width only; the actors open their own
    notes = {"encoder": to_jsonable(config.text), "text_fields": list(config.text_fields)}
    encode = functools.partial(encode_texts, config.text, unit_size=config.unit_size, actors=config.actors)
    keys, texts = _read_texts(config.text_fields, lake)
    return _embed(TEXT_EMBEDDINGS, encoder, keys, texts, encode, functools.partial(progress, "texts"), lake, notes)


def _embed_images(config: EmbedConfig, lake: Lake, progress: JobProgress) -> EmbeddingCounts:
    encoder = open_image_encoder(config.image)
    notes = {"encoder": to_jsonable(config.image)}
    encode = functools.partial(encode_images, config.image, unit_size=config.unit_size, actors=config.actors)
    keys, locations = _read_image_locations(lake)
    return _embed(
        IMAGE_EMBEDDINGS, encoder, keys, locations, encode, functools.partial(progress, "images"), lake, notes
    )


def _embed(
    spec: TableSpec,
    encoder: Encoder[Any],
    keys: Sequence[EmbeddingKey],
    contents: Mapping[str, object],
    encode: Callable[..., VectorsByContent],
    on_progress: Callable[..., None],
    lake: Lake,
    notes: Mapping[str, object],
) -> EmbeddingCounts:
    """Look up the known vectors of `contents` by digest, encode the other contents, and publish the table."""
    known = known_vectors(spec, lake, encoder.space_id, contents)
    new = {digest: content for digest, content in contents.items() if digest not in known}
    encoded = encode(new, on_encoded=functools.partial(on_progress, total=len(new)))
    with lake.publish(spec.name, {**notes, "space_id": encoder.space_id, "dim": encoder.dim}) as folder:
        written = write_vectors(spec, folder, keys, {**known, **encoded}, encoder.space_id)
    return EmbeddingCounts(
        keys=written, num_encoded=len(encoded), num_cached=len(known), num_unreadable=len(new) - len(encoded)
    )


def _read_texts(fields: Sequence[TextField], lake: Lake) -> tuple[list[EmbeddingKey], dict[str, str]]:
    """The key of every product's row, and each distinct text by its digest."""
    keys: list[EmbeddingKey] = []
    texts: dict[str, str] = {}
    for batch in PRODUCTS.batches(lake.current("products"), COLUMNS_WITHOUT_IMAGE_BYTES):
        for row in batch.to_pylist():
            text = product_text(row_to_product(row)[0], fields)
            digest = sha256_bytes(text.encode())
            texts[digest] = text
            keys.append(EmbeddingKey(row["product_id"], 0, digest))
    return keys, texts


def _read_image_locations(lake: Lake) -> tuple[list[EmbeddingKey], dict[str, ImageLocation]]:
    """The key of every view's row, and the first location of each distinct image; no image bytes are read."""
    keys: list[EmbeddingKey] = []
    locations: dict[str, ImageLocation] = {}
    for part in PRODUCTS.parts(lake.current("products")):
        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                columns = file.read_row_group(group, columns=["product_id", "images.list.element.sha256"])
                for number, row in enumerate(columns.to_pylist()):
                    for view, image in enumerate(row["images"] or ()):
                        keys.append(EmbeddingKey(row["product_id"], view, image["sha256"]))
                        locations.setdefault(image["sha256"], ImageLocation(part, group, number, view))
    return keys, locations


JOB = Job(
    name="embed_products",
    summary="clean products -> a unit vector of each text and each image",
    config=EmbedConfig,
    reads=("products",),
    optional_reads=(*TEXT_TOWERS, *IMAGE_TOWERS),
    writes=("text_embeddings", "image_embeddings"),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
