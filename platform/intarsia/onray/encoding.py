"""Encodes texts and images of a catalog in Ray actors. The caller decides which contents need encoding."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.open import move_to_gpu, open_image_encoder, open_text_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.encoders.store import VectorsByContent
from intarsia.image import ImageError
from intarsia.onray.workers import RayWorkers

OnEncoded = Callable[[int], None]
"""Called with the number of contents encoded so far."""


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """Where the bytes of an image are in the table `products`."""

    part: Path
    row_group: int
    row: int
    view: int


@dataclass(frozen=True, slots=True)
class _TextBatch:
    """Texts and their digests."""

    texts: tuple[str, ...]
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ImageBatch:
    """Images of one row group of a part, as (row in the group, view), and their digests."""

    part: Path
    row_group: int
    images: tuple[tuple[int, int], ...]
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderActors:
    """Number of actors that encode in parallel; each has one CPU and `gpus_per_actor` GPUs."""

    num: int
    gpus_per_actor: float = 0.0

    def pool(self) -> RayWorkers:
        """The actor pool. Even a single item goes to an actor, because an encoder is large."""
        return RayWorkers(num_workers=self.num, min_items=1, gpus_per_worker=self.gpus_per_actor)


def encode_texts(
    config: TextEncoderConfig,
    texts: Mapping[str, str],
    *,
    unit_size: int,
    actors: EncoderActors,
    on_encoded: OnEncoded,
) -> VectorsByContent:
    """The vector of every text, by digest.

    Texts are batched in the order of their digests, so the vectors do not depend on the number of actors.

    Args:
        config: the encoder.
        texts: by digest.
        unit_size: texts per batch.
        actors: where they are encoded.
        on_encoded: called after each batch.
    """
    batches = [
        _TextBatch(tuple(texts[digest] for digest in digests), tuple(digests))
        for digests in _chunks(sorted(texts), unit_size)
    ]
    open_worker = functools.partial(_TextWorker, config, actors.gpus_per_actor > 0)
    return _collect(actors.pool()(open_worker, batches), on_encoded)


def encode_images(
    config: ImageEncoderConfig,
    locations: Mapping[str, ImageLocation],
    *,
    unit_size: int,
    actors: EncoderActors,
    on_encoded: OnEncoded,
) -> VectorsByContent:
    """The vector of every image that can be decoded, by digest. The actors read the bytes from the table.

    Args:
        config: the encoder.
        locations: by digest.
        unit_size: images per batch; a batch holds images of one row group.
        actors: where they are encoded.
        on_encoded: called after each batch.
    """
    groups: dict[tuple[Path, int], list[str]] = {}
    for digest, location in locations.items():
        groups.setdefault((location.part, location.row_group), []).append(digest)
    batches = [
        _ImageBatch(part, group, tuple((locations[d].row, locations[d].view) for d in chunk), tuple(chunk))
        for (part, group), digests in groups.items()
        for chunk in _chunks(digests, unit_size)
    ]
    open_worker = functools.partial(_ImageWorker, config, actors.gpus_per_actor > 0)
    return _collect(actors.pool()(open_worker, batches), on_encoded)


def _chunks(digests: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(digests), size):
        yield digests[start : start + size]


def _collect(results: Iterator[VectorsByContent], on_encoded: OnEncoded) -> VectorsByContent:
    vectors: dict[str, NDArray[np.float32]] = {}
    for batch in results:
        vectors |= batch
        on_encoded(len(vectors))
    return vectors


class _TextWorker:
    """Runs in an actor; holds a text encoder."""

    def __init__(self, config: TextEncoderConfig, on_gpu: bool) -> None:
        self._encoder: Encoder[str] = open_text_encoder(config)
        if on_gpu:
            move_to_gpu(self._encoder)
        _use_one_thread()

    def __call__(self, batch: _TextBatch) -> VectorsByContent:
        return dict(zip(batch.digests, self._encoder.encode(batch.texts), strict=True))


class _ImageWorker:
    """Runs in an actor; holds an image encoder, and the images of the row group that it read last."""

    def __init__(self, config: ImageEncoderConfig, on_gpu: bool) -> None:
        self._encoder: Encoder[bytes] = open_image_encoder(config)
        if on_gpu:
            move_to_gpu(self._encoder)
        _use_one_thread()
        self._row_group: tuple[Path, int] | None = None
        self._rows: list[list[bytes]] = []

    def __call__(self, batch: _ImageBatch) -> VectorsByContent:
        if self._row_group != (batch.part, batch.row_group):
            with pq.ParquetFile(batch.part) as file:
                column = file.read_row_group(batch.row_group, columns=["images.list.element.bytes"])["images"]
            self._rows = [[image["bytes"] for image in images or ()] for images in column.to_pylist()]
            self._row_group = batch.part, batch.row_group
        images = [self._rows[row][view] for row, view in batch.images]
        try:
            return dict(zip(batch.digests, self._encoder.encode(images), strict=True))
        except ImageError:
            return self._encode_decodable(batch.digests, images)

    def _encode_decodable(self, digests: Sequence[str], images: Sequence[bytes]) -> VectorsByContent:
        """Encode one image at a time and leave out those that cannot be decoded."""
        vectors: dict[str, NDArray[np.float32]] = {}
        for digest, image in zip(digests, images, strict=True):
            try:
                vectors[digest] = self._encoder.encode([image])[0]
            except ImageError:
                continue  # the job counts the digests without a vector
        return vectors


def _use_one_thread() -> None:
    if torch := sys.modules.get("torch"):  # not every encoder uses torch
        torch.set_num_threads(1)  # several threads on shared cores are slower, with delays of seconds
