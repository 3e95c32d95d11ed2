"""Text to token ids through one fast tokenizer file, the same for catalog and queries, for torch and ONNX.

Letters: N texts, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from intarsia.text import clean, fold

Reading = Literal["clean", "folded"]


def read_text(text: str, reading: Reading, prefix: str = "") -> str:
    """A text as every tokenizer gets it; catalog and query texts pass through here."""
    return prefix + (clean(text) if reading == "clean" else fold(text))


class TextTokenizer:
    """A tokenizer that cuts at `max_tokens` (the model's own marks included) and reads texts as `read_text` says."""

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int, reading: Reading, prefix: str) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._reading: Reading = reading
        self._prefix = prefix

    @classmethod
    def open(cls, path: Path, *, max_tokens: int, reading: Reading, prefix: str) -> TextTokenizer:
        """From a `tokenizer.json`."""
        return cls(Tokenizer.from_file(str(path)), max_tokens=max_tokens, reading=reading, prefix=prefix)

    def save(self, path: Path) -> None:
        """As a `tokenizer.json`."""
        self._tokenizer.save(str(path), pretty=False)

    def content(self) -> str:
        """The whole tokenizer as JSON: vocabulary, rules, truncation; part of the space's name."""
        return str(self._tokenizer.to_str())

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, unpadded; an empty text has the model's marks alone."""
        read = [read_text(text, self._reading, self._prefix) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(read)]


def pad(ids: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids int64 [N, T] filled to the longest, and mask int64 [N, T] with 1 where a token is."""
    width = max((len(row) for row in ids), default=0)
    ids_NT = np.full((len(ids), width), pad_id, np.int64)
    mask_NT = np.zeros((len(ids), width), np.int64)
    for n, row in enumerate(ids):
        ids_NT[n, : len(row)] = row
        mask_NT[n, : len(row)] = 1
    return ids_NT, mask_NT
