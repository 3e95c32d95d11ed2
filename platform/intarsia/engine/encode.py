"""Encode a query's text and image to vectors.

Items are encoded one at a time: a batch changes the last bits of an encoder's output, and offline must equal online.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from intarsia.encoders.aligned import ALIGNMENT_CARD, Alignment
from intarsia.encoders.open import Precision, open_query_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.errors import ReleaseMismatch
from intarsia.ids import SpaceId
from intarsia.records.query import EncodedQuery, Query, QueryVector

ALIGNED = "aligned"
"""The retriever that finds product images by text, and the folder of its alignment; absent without images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEncoders:
    """The query encoders of a release; their vector spaces are those of the index.

    Attributes:
        text: encodes the query's text.
        image: encodes the query's image.
        aligned: projects the text vector into the space shared with images; None for a catalog without images.
        aligned_text: encodes the text for `aligned`, if the alignment was trained over another encoder than `text`.
    """

    text: Encoder[str]
    image: Encoder[bytes]
    aligned: Alignment | None = None
    aligned_text: Encoder[str] | None = None

    @classmethod
    def open(cls, folder: Path, *, precision: Precision = "int8") -> QueryEncoders:
        """Open the exported encoders of a release."""
        text, image = (open_query_encoder(folder / name, precision=precision) for name in ("text", "image"))
        return cls(
            text=cast("Encoder[str]", text),  # by the folder's name
            image=cast("Encoder[bytes]", image),
            aligned=Alignment.open(folder / ALIGNED) if (folder / ALIGNED / ALIGNMENT_CARD).is_file() else None,
        )

    @property
    def spaces(self) -> Mapping[str, SpaceId]:
        """The vector space of each retriever's query vectors."""
        spaces = {"text": self.text.space_id, "image": self.image.space_id}
        return spaces if self.aligned is None else {**spaces, ALIGNED: self.aligned.space_id}

    def check_spaces(self, stored: Mapping[str, SpaceId]) -> None:
        """Compare the encoders' spaces with those of the stored vectors.

        Raises:
            ReleaseMismatch: a space differs or exists on one side only, or the alignment has other encoders.
        """
        encoded = self.spaces
        for name in {**encoded, **stored}:
            if encoded.get(name) != stored.get(name):
                raise ReleaseMismatch(
                    f"the {name} query encoder makes vectors of space {encoded.get(name)}, the index holds "
                    f"{stored.get(name)}. Fix: run embed_products, align_modalities, export_query_encoders and "
                    "build_indexes with one config"
                )
        if self.aligned is not None:
            trained_over = {"text": self.aligned.text_space, "image": self.aligned.image_space}
            for name, space in trained_over.items():
                if encoded[name] != space:
                    raise ReleaseMismatch(
                        f"the alignment was trained over {name} space {space}, the {name} encoder makes "
                        f"{encoded[name]}. Fix: run align_modalities and the jobs after it again"
                    )

    def encode(self, query: Query, *, judged_in_train: bool = False) -> EncodedQuery:
        """Encode the text and the image of a query, if it has them.

        Args:
            query: with text, an image, or both.
            judged_in_train: the request id is that of a judged train query; its aligned vector comes from the head
                that was not trained on the query's fold.

        Raises:
            ImageError: the image cannot be read.
        """
        vectors: dict[str, QueryVector] = {}
        if query.text:
            text_T = self.text.encode([query.text])[0]
            vectors["text"] = QueryVector(space_id=self.text.space_id, values_D=text_T)
            if self.aligned is not None:
                train_query_id = str(query.request_id) if judged_in_train else None
                encoder = self.aligned_text
                input_T = text_T if encoder is None else encoder.encode([query.text])[0]
                aligned_D = self.aligned.text(query.text, input_T, train_query_id=train_query_id)
                vectors[ALIGNED] = QueryVector(space_id=self.aligned.space_id, values_D=aligned_D)
        if query.image:
            vectors["image"] = QueryVector(space_id=self.image.space_id, values_D=self.image.encode([query.image])[0])
        return EncodedQuery(query=query, vectors=vectors)
