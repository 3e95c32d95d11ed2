"""Types of identifiers, digests of content, and the assignment of queries to folds."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import NewType

ProductId = NewType("ProductId", str)
QueryId = NewType("QueryId", str)
RequestId = NewType("RequestId", str)
ReleaseId = NewType("ReleaseId", str)
EventId = NewType("EventId", str)
SpaceId = NewType("SpaceId", str)
"""Names a vector space: encoder, weights and pooling. Vectors of different spaces are never compared."""

_READ_BYTES = 1 << 20


def new_request_id() -> RequestId:
    """Return a random id for a request that has none."""
    return RequestId(uuid.uuid4().hex)


def sha256_bytes(content: bytes) -> str:
    """Hex sha256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sha256_tree(folder: Path) -> str:
    """Hex sha256 over relative path and content of every file below a folder; of a file, over its content."""
    if folder.is_file():
        return sha256_file(folder)
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """Hex sha256 of a JSON value with sorted keys: equal values have equal digests.

    >>> sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})
    True
    """
    return sha256_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())


def short(digest: str) -> str:
    """The first 12 hex digits of a digest, for file names and log lines."""
    return digest[:12]


def fold_of(query_id: str, num_folds: int) -> int:
    """The fold of a query, 0 to num_folds - 1. It depends on the query id alone, so every job computes the same fold.

    Raises:
        ValueError: fewer than two folds.
    """
    if num_folds < 2:
        raise ValueError(f"num_folds is {num_folds}; allowed: 2 or more")
    return int.from_bytes(hashlib.blake2b(query_id.encode(), digest_size=8).digest()) % num_folds
