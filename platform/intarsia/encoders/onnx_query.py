"""Exported encoders, run by onnxruntime on one thread, for serving. See `export.py`.

Items are encoded one at a time. A batch would change the last bits of a vector (with int8, whose scale is taken from
the whole batch, its third digit), so a query would have different vectors online and offline. On one thread a batch is
not faster.

Letters: N items, T tokens, S side, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from intarsia.encoders.inputs import Reading, TextTokenizer, read_pixels
from intarsia.errors import ArtifactError
from intarsia.ids import SpaceId

MODEL_FILE = "model.{precision}.onnx"
TOKENIZER_FILE = "tokenizer.json"


class OnnxTextEncoder:
    """`Encoder[str]` of an exported text tower."""

    def __init__(self, folder: Path, card: Mapping[str, object], precision: str) -> None:
        reading: Reading = "folded" if card["reading"] == "folded" else "clean"
        self.space_id = SpaceId(str(card["space_id"]))
        self.dim = int(str(card["dim"]))
        self._tokenizer = TextTokenizer.open(
            folder / TOKENIZER_FILE,
            max_tokens=int(str(card["max_tokens"])),
            reading=reading,
            prefix=str(card["prefix"]),
        )
        self._session = _open_session(folder, card, precision)

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        vectors_ND = np.empty((len(items), self.dim), np.float32)
        for n, ids in enumerate(self._tokenizer.ids(items)):
            ids_1T = np.array([ids], np.int64)
            (vectors_ND[n : n + 1],) = self._session.run(None, {"ids": ids_1T, "mask": np.ones_like(ids_1T)})
        return vectors_ND


class OnnxImageEncoder:
    """`Encoder[bytes]` of an exported image tower."""

    def __init__(self, folder: Path, card: Mapping[str, object], precision: str) -> None:
        self.space_id = SpaceId(str(card["space_id"]))
        self.dim = int(str(card["dim"]))
        self._image_px = int(str(card["image_px"]))
        self._session = _open_session(folder, card, precision)

    def encode(self, items: Sequence[bytes]) -> NDArray[np.float32]:
        """Raises ImageError if an image cannot be decoded."""
        vectors_ND = np.empty((len(items), self.dim), np.float32)
        for n, item in enumerate(items):
            pixels_1SS3 = read_pixels([item], self._image_px)
            (vectors_ND[n : n + 1],) = self._session.run(None, {"pixels": pixels_1SS3})
        return vectors_ND


def _open_session(folder: Path, card: Mapping[str, object], precision: str) -> onnxruntime.InferenceSession:
    files = card["files"]
    assert isinstance(files, Mapping)
    path = folder / str(files[precision])
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; run `intarsia job export_query_encoders` again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; its warnings are about its own optimiser
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
