"""A query's words and picture to vectors: one item at a time, so that offline and online give the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from intarsia.encoders.open import open_query_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.errors import ReleaseMismatch
from intarsia.ids import SpaceId
from intarsia.records.query import EncodedQuery, Query, QueryVector

Precision = Literal["int8", "fp32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEncoders:
    """The encoders of the query side; their spaces are those of the stored vectors."""

    text: Encoder[str]
    image: Encoder[bytes]

    @classmethod
    def open(cls, folder: Path, *, precision: Precision = "int8") -> QueryEncoders:
        """The exported encoders of a release."""
        text, image = (open_query_encoder(folder / name, precision=precision) for name in ("text", "image"))
        return cls(text=cast("Encoder[str]", text), image=cast("Encoder[bytes]", image))  # by the folder's name

    def check_spaces(self, *, text: SpaceId, image: SpaceId) -> None:
        """Refuse encoders whose vectors cannot be compared with the stored ones.

        Raises:
            ReleaseMismatch: a query encoder's space is not the index's.
        """
        for name, mine, stored in (("text", self.text.space_id, text), ("image", self.image.space_id, image)):
            if mine != stored:
                raise ReleaseMismatch(
                    f"the {name} query encoder makes vectors of space {mine}, the index holds {stored}; "
                    "run embed_products, export_query_encoders and build_indexes with one encoder config"
                )

    def encode(self, query: Query) -> EncodedQuery:
        """The query with a vector for each part that was given.

        Raises:
            ImageError: the picture's bytes cannot be read.
        """
        vectors: dict[str, QueryVector] = {}
        if query.text:
            vectors["text"] = QueryVector(space_id=self.text.space_id, values_D=self.text.encode([query.text])[0])
        if query.image:
            vectors["image"] = QueryVector(space_id=self.image.space_id, values_D=self.image.encode([query.image])[0])
        return EncodedQuery(query=query, vectors=vectors)
