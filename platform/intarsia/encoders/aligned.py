"""The aligned space: projections of the frozen vectors of a text and an image encoder, and of words, into one space.

An image vector is projected by one matrix. A text is the sum of the vectors of its words and of its projected encoder
vector: words generalise to new combinations ("navy" + "sandals"), the encoder vector to unknown words.
`training/alignment.py` learns the numbers; this module uses them, with NumPy only.

The serving head is trained on all judged train queries. These queries themselves are encoded by the head of their fold,
which was trained without them, so the scores that a ranker trains on are like those of new queries.

Letters: V images, E their width, T the text encoder's width, D the aligned width, n words of the vocabulary, W words of
a text, H heads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from intarsia.encoders.protocol import digest_arrays, name_space
from intarsia.errors import ArtifactError
from intarsia.ids import SpaceId, fold_of
from intarsia.lake import write_json
from intarsia.maths.arrays import Float32s
from intarsia.maths.unit_vectors import unit_vectors
from intarsia.text import tokens

ALIGNMENT_CARD, ALIGNMENT_HEADS = "alignment.json", "heads.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextHeads:
    """H text heads: the serving head first, then one per fold.

    `word_ids` maps a word to its row of `words_nHD`; `vector_HTD` projects the encoder's vector; `bias_HD` is added.
    """

    word_ids: Mapping[str, int]
    words_nHD: Float32s
    vector_HTD: Float32s
    bias_HD: Float32s

    @property
    def num_folds(self) -> int:
        """Number of heads that were trained without a fold of the judged train queries."""
        return len(self.bias_HD) - 1

    def project(self, text: str, text_T: Float32s, head: int) -> Float32s:
        """Project a text and its encoder vector into the aligned space: unit float32 [D]."""
        ids_W, weight = word_bag(text, self.word_ids)
        sum_D = self.words_nHD[ids_W, head].sum(axis=0, dtype=np.float32) * np.float32(weight)
        return _unit(sum_D + text_T @ self.vector_HTD[head] + self.bias_HD[head])


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The aligned space of one text space and one image space.

    Raises:
        ArtifactError: the shapes of the parts do not match.
    """

    text_space: SpaceId
    image_space: SpaceId
    image_ED: Float32s
    image_bias_D: Float32s
    heads: TextHeads
    space_id: SpaceId = field(init=False)
    """Space id of the aligned space, from the image projection and the two encoder spaces. All text heads map into it.
    """

    def __post_init__(self) -> None:
        widths = {self.image_ED.shape[1], *self.image_bias_D.shape, self.heads.bias_HD.shape[1]}
        widths |= {self.heads.words_nHD.shape[2], self.heads.vector_HTD.shape[2]}
        if len(widths) > 1 or len(self.heads.words_nHD) != len(self.heads.word_ids):
            raise ArtifactError(
                f"the parts of the alignment have widths {sorted(widths)} and {len(self.heads.words_nHD)} vectors for "
                f"{len(self.heads.word_ids)} words; run align_modalities again"
            )
        arrays = {"picture": self.image_ED, "bias": self.image_bias_D}
        spaces = {"text": self.text_space, "image": self.image_space}
        object.__setattr__(self, "space_id", name_space("aligned", digest_arrays(arrays.items()), spaces))

    @property
    def dim(self) -> int:
        return len(self.image_bias_D)

    def serving(self) -> Alignment:
        """The same space with the serving head only: the part that a release contains."""
        heads = self.heads
        serving_head = TextHeads(
            word_ids=heads.word_ids,
            words_nHD=heads.words_nHD[:, :1],
            vector_HTD=heads.vector_HTD[:1],
            bias_HD=heads.bias_HD[:1],
        )
        return replace(self, heads=serving_head)

    def images(self, vectors_VE: Float32s) -> Float32s:
        """Project image vectors into the aligned space: unit float32 [V, D]."""
        return _unit(vectors_VE @ self.image_ED + self.image_bias_D)

    def text(self, text: str, text_T: Float32s, *, train_query_id: str | None = None) -> Float32s:
        """Project a text into the aligned space: unit float32 [D].

        Args:
            text: the words.
            text_T: the text encoder's vector.
            train_query_id: id of the query if the serving head was trained on it; the head of its fold is used then.
        """
        head = 0
        if train_query_id is not None and self.heads.num_folds:
            head = 1 + fold_of(train_query_id, self.heads.num_folds)
        return self.heads.project(text, text_T, head)

    def save(self, folder: Path) -> None:
        """Write the alignment to a folder; equal alignments give equal bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "picture": self.image_ED,
            "picture_bias": self.image_bias_D,
            "words": self.heads.words_nHD,
            "vector": self.heads.vector_HTD,
            "bias": self.heads.bias_HD,
        }
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ALIGNMENT_HEADS)
        card = {"text_space": self.text_space, "image_space": self.image_space, "space_id": self.space_id}
        write_json(folder / ALIGNMENT_CARD, {**card, "words": list(self.heads.word_ids)})

    @classmethod
    def open(cls, folder: Path) -> Alignment:
        """Read the folder of `save`.

        Raises:
            ArtifactError: a file is missing or damaged, or the shapes of the parts do not match.
        """
        try:
            card = json.loads((folder / ALIGNMENT_CARD).read_text(encoding="utf-8"))
            arrays = load_file(folder / ALIGNMENT_HEADS)
            return cls(
                text_space=SpaceId(card["text_space"]),
                image_space=SpaceId(card["image_space"]),
                image_ED=arrays["picture"],
                image_bias_D=arrays["picture_bias"],
                heads=TextHeads(
                    word_ids={word: number for number, word in enumerate(card["words"])},
                    words_nHD=arrays["words"],
                    vector_HTD=arrays["vector"],
                    bias_HD=arrays["bias"],
                ),
            )
        except ArtifactError:
            raise
        except Exception as error:  # safetensors raises its own class for damaged files
            raise ArtifactError(
                f"{folder} is not an alignment ({type(error).__name__}: {error}); run align_modalities again"
            ) from None


def word_bag(text: str, word_ids: Mapping[str, int]) -> tuple[NDArray[np.int64], float]:
    """The numbers of the distinct known words of a text, ascending, and their weight 1 / sqrt(W).

    The weight keeps the length of the sum similar for short and long texts.
    """
    ids = sorted({word_ids[token] for token in tokens(text) if token in word_ids})
    return np.array(ids, np.int64), len(ids) ** -0.5 if ids else 0.0


def frequent_words(texts: Sequence[str], *, min_texts: int, max_words: int) -> dict[str, int]:
    """Number the words of at least `min_texts` texts, the most frequent first, ties in alphabetical order."""
    counts: dict[str, int] = {}
    for text in texts:
        for token in set(tokens(text)):
            counts[token] = counts.get(token, 0) + 1
    frequent = sorted((-count, word) for word, count in counts.items() if count >= min_texts)
    return {word: number for number, (_, word) in enumerate(frequent[:max_words])}


def _unit(vectors: Float32s) -> Float32s:
    """Normalise along the last axis; zeros become the vector of equal values, as in `pooling.unit_rows`."""
    unit = unit_vectors(vectors)
    uniform = np.full_like(vectors, vectors.shape[-1] ** -0.5)
    return np.where(unit.any(axis=-1, keepdims=True), unit, uniform).astype(np.float32)
