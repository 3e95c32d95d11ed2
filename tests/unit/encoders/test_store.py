"""Vectors written to an embeddings table and read back by content."""

from __future__ import annotations

import numpy as np

from intarsia.encoders.store import EmbeddingKey, known_vectors, write_vectors
from intarsia.ids import SpaceId, sha256_tree
from intarsia.lake import Lake
from intarsia.tables.embeddings import IMAGE_EMBEDDINGS

SPACE = SpaceId("image-a")
VECTORS = {"x": np.array([1.0, 0.0], np.float32), "y": np.array([0.6, 0.8], np.float32)}
PLACES = [
    EmbeddingKey("p2", 0, "y"),
    EmbeddingKey("p1", 1, "y"),
    EmbeddingKey("p1", 0, "x"),
    EmbeddingKey("p3", 0, "unreadable"),
]


def publish(lake: Lake, places: list[EmbeddingKey]) -> list[EmbeddingKey]:
    with lake.publish("image_embeddings") as folder:
        return write_vectors(IMAGE_EMBEDDINGS, folder, places, VECTORS, SPACE)


def test_rows_are_sorted_by_product_and_view(lake: Lake) -> None:
    kept = publish(lake, PLACES)
    table = IMAGE_EMBEDDINGS.read(lake.current("image_embeddings"))
    assert [(p.product_id, p.view) for p in kept] == [("p1", 0), ("p1", 1), ("p2", 0)]
    assert table["product_id"].to_pylist() == ["p1", "p1", "p2"]
    assert table["vector"].to_pylist()[0] == [1.0, 0.0]


def test_the_order_of_the_keys_does_not_change_the_bytes(lake: Lake) -> None:
    publish(lake, PLACES)
    first = lake.current("image_embeddings").digest
    publish(lake, PLACES[::-1])
    assert lake.current("image_embeddings").digest == first == sha256_tree(lake.current("image_embeddings").path)


def test_known_vectors_are_those_of_the_space_that_are_wanted(lake: Lake) -> None:
    publish(lake, PLACES)
    known = known_vectors(IMAGE_EMBEDDINGS, lake, SPACE, {"y", "z"})
    assert list(known) == ["y"]
    assert np.array_equal(known["y"], VECTORS["y"])
    assert known_vectors(IMAGE_EMBEDDINGS, lake, SpaceId("image-b"), {"y"}) == {}


def test_an_empty_lake_knows_nothing(lake: Lake) -> None:
    assert known_vectors(IMAGE_EMBEDDINGS, lake, SPACE, {"y"}) == {}


def test_no_keys_give_an_empty_table(lake: Lake) -> None:
    assert publish(lake, []) == []
    assert IMAGE_EMBEDDINGS.read(lake.current("image_embeddings")).num_rows == 0
