"""A query's words and picture to vectors: one item at a time, so that offline and online give the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from intarsia.encoders.aligned import ALIGNMENT_CARD, Alignment
from intarsia.encoders.open import open_query_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.errors import ReleaseMismatch
from intarsia.ids import SpaceId
from intarsia.records.query import EncodedQuery, Query, QueryVector

Precision = Literal["int8", "fp32"]

ALIGNED = "aligned"
"""The retriever that finds pictures by words, and the folder of what it needs; a shop without pictures has neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEncoders:
    """The encoders of the query side; their spaces are those of the stored vectors."""

    text: Encoder[str]
    image: Encoder[bytes]
    aligned: Alignment | None = None
    aligned_reads: Encoder[str] | None = None
    """What makes the vectors that `aligned` was learned over, where that is not `text`."""

    @classmethod
    def open(cls, folder: Path, *, precision: Precision = "int8") -> QueryEncoders:
        """The exported encoders of a release."""
        text, image = (open_query_encoder(folder / name, precision=precision) for name in ("text", "image"))
        return cls(
            text=cast("Encoder[str]", text),  # by the folder's name
            image=cast("Encoder[bytes]", image),
            aligned=Alignment.open(folder / ALIGNED) if (folder / ALIGNED / ALIGNMENT_CARD).is_file() else None,
        )

    @property
    def spaces(self) -> Mapping[str, SpaceId]:
        """The spaces of the vectors they make, by retriever."""
        made = {"text": self.text.space_id, "image": self.image.space_id}
        return made if self.aligned is None else {**made, ALIGNED: self.aligned.space_id}

    def check_spaces(self, stored: Mapping[str, SpaceId]) -> None:
        """Refuse encoders whose vectors cannot be compared with the stored ones.

        Raises:
            ReleaseMismatch: a query encoder's space is not the index's, or only one of the two has it; or the alignment is over others.
        """
        made = self.spaces
        for name in {**made, **stored}:
            if made.get(name) != stored.get(name):
                raise ReleaseMismatch(
                    f"the {name} query encoder makes vectors of space {made.get(name)}, the index holds {stored.get(name)}; "
                    "run embed_products, align_modalities, export_query_encoders and build_indexes with one config"
                )
        if self.aligned is not None:
            over = {"text": self.aligned.text_space, "image": self.aligned.image_space}
            for name, space in over.items():
                if made[name] != space:
                    raise ReleaseMismatch(
                        f"the alignment was learned over {name} space {space}, the {name} encoder makes {made[name]}; "
                        "run align_modalities and what follows again"
                    )

    def encode(self, query: Query, *, judged_in_train: bool = False) -> EncodedQuery:
        """The query with a vector for each part that was given.

        Args:
            query: its words, its picture, or both.
            judged_in_train: its request id is that of a train query: it is encoded by what has not learned from it.

        Raises:
            ImageError: the picture's bytes cannot be read.
        """
        vectors: dict[str, QueryVector] = {}
        if query.text:
            text_T = self.text.encode([query.text])[0]
            vectors["text"] = QueryVector(space_id=self.text.space_id, values_D=text_T)
            if self.aligned is not None:
                seen = str(query.request_id) if judged_in_train else None
                reads = self.aligned_reads
                read_T = text_T if reads is None else reads.encode([query.text])[0]
                aligned_D = self.aligned.text(query.text, read_T, judged_in_train=seen)
                vectors[ALIGNED] = QueryVector(space_id=self.aligned.space_id, values_D=aligned_D)
        if query.image:
            vectors["image"] = QueryVector(space_id=self.image.space_id, values_D=self.image.encode([query.image])[0])
        return EncodedQuery(query=query, vectors=vectors)
