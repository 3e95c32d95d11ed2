"""Texts and pictures of a catalog through encoders that live in actors. Which of them need encoding is the job's matter."""

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

Tell = Callable[[int], None]
"""Called with the number of contents done so far."""


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where a picture's bytes lie in the table `products`."""

    part: Path
    row_group: int
    row: int
    view: int


@dataclass(frozen=True, slots=True)
class ImageUnit:
    """Pictures of one row group of one part, by (row in the group, view), with their digests."""

    part: Path
    row_group: int
    images: tuple[tuple[int, int], ...]
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextUnit:
    """Texts with their digests."""

    texts: tuple[str, ...]
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actors:
    """How many encode side by side, and what each is given: a CPU, and so many GPUs."""

    num: int
    gpus_each: float = 0.0

    def workers(self) -> RayWorkers:
        """The pool; never this process, however little there is to do: an encoder is large, and sets its threads."""
        return RayWorkers(num_workers=self.num, min_pieces=1, gpus_per_worker=self.gpus_each)


def encode_texts(
    config: TextEncoderConfig, texts: Mapping[str, str], *, unit_size: int, actors: Actors, tell: Tell
) -> VectorsByContent:
    """The vector of every text, by its digest. Units are cut in the order of the digests, so their number of actors changes nothing."""
    units = [
        TextUnit(tuple(texts[digest] for digest in digests), tuple(digests))
        for digests in _chunks(sorted(texts), unit_size)
    ]
    return _gathered(actors.workers()(functools.partial(_TextWork, config, actors.gpus_each > 0), units), tell)


def encode_images(
    config: ImageEncoderConfig, places: Mapping[str, ImagePlace], *, unit_size: int, actors: Actors, tell: Tell
) -> VectorsByContent:
    """The vector of every picture that can be decoded, by its digest; actors read the bytes from the table themselves."""
    groups: dict[tuple[Path, int], list[str]] = {}
    for digest, place in places.items():
        groups.setdefault((place.part, place.row_group), []).append(digest)
    units = [
        ImageUnit(part, group, tuple((places[d].row, places[d].view) for d in digests), tuple(digests))
        for (part, group), members in groups.items()
        for digests in _chunks(members, unit_size)
    ]
    return _gathered(actors.workers()(functools.partial(_ImageWork, config, actors.gpus_each > 0), units), tell)


def _chunks(digests: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(digests), size):
        yield digests[start : start + size]


def _gathered(results: Iterator[VectorsByContent], tell: Tell) -> VectorsByContent:
    found: dict[str, NDArray[np.float32]] = {}
    for vectors in results:
        found |= vectors
        tell(len(found))
    return found


class _TextWork:
    """Lives in an actor: a text encoder, opened once."""

    def __init__(self, config: TextEncoderConfig, on_gpu: bool) -> None:
        self._encoder: Encoder[str] = open_text_encoder(config)
        if on_gpu:
            move_to_gpu(self._encoder)
        _one_thread()

    def __call__(self, unit: TextUnit) -> VectorsByContent:
        return dict(zip(unit.digests, self._encoder.encode(unit.texts), strict=True))


class _ImageWork:
    """Lives in an actor: an image encoder, opened once, and the pictures of the row group it last read."""

    def __init__(self, config: ImageEncoderConfig, on_gpu: bool) -> None:
        self._encoder: Encoder[bytes] = open_image_encoder(config)
        if on_gpu:
            move_to_gpu(self._encoder)
        _one_thread()
        self._held: tuple[Path, int] | None = None
        self._rows: list[list[bytes]] = []

    def __call__(self, unit: ImageUnit) -> VectorsByContent:
        if self._held != (unit.part, unit.row_group):
            with pq.ParquetFile(unit.part) as file:
                column = file.read_row_group(unit.row_group, columns=["images.list.element.bytes"])["images"]
            self._rows = [[image["bytes"] for image in images or ()] for images in column.to_pylist()]
            self._held = unit.part, unit.row_group
        image_bytes = [self._rows[row][view] for row, view in unit.images]
        try:
            return dict(zip(unit.digests, self._encoder.encode(image_bytes), strict=True))
        except ImageError:
            return self._one_by_one(unit.digests, image_bytes)

    def _one_by_one(self, digests: Sequence[str], images: Sequence[bytes]) -> VectorsByContent:
        """The unit without the pictures that cannot be decoded: one bad picture does not stop its batch."""
        good: dict[str, NDArray[np.float32]] = {}
        for digest, image in zip(digests, images, strict=True):
            try:
                good[digest] = self._encoder.encode([image])[0]
            except ImageError:
                continue  # told by its absence: the job counts it
        return good


def _one_thread() -> None:
    if torch := sys.modules.get("torch"):  # not every encoder runs on it
        torch.set_num_threads(1)  # two threads on shared cores are slower, with tails of seconds
