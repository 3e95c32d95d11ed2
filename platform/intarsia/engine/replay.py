"""A served request once more: the same stages of the same release, from the logged query vectors to the digest of the feature matrix."""

from __future__ import annotations

from dataclasses import replace

from intarsia.engine.search import SearchEngine
from intarsia.errors import ReleaseMismatch
from intarsia.records.query import EncodedQuery
from intarsia.records.served import ServedRequest


def replay(served: ServedRequest, engine: SearchEngine) -> bytes:
    """The digest of what the ranker of `engine` is given for a served request; the record's, when nothing has changed.

    Only a record that `is_replayable` says something. Bits are those of one kind of processor: NumPy picks its instructions by what the
    machine has.

    Raises:
        ReleaseMismatch: another release served the request, or its vectors are of another space.
    """
    if served.release_id != engine.release_id:
        raise ReleaseMismatch(
            f"request {served.request_id} was served by release {served.release_id}, this is {engine.release_id}; "
            "open the release that served it"
        )
    asked = replace(served.query, facets=(), explain=False)  # neither reaches a feature, and both take time
    encoded = EncodedQuery(query=asked, vectors=served.vectors)
    fused = engine.fuser.fuse(engine.retrieve.retrieve([encoded])[0])
    return engine.rank.rank([encoded], [fused])[0].digest
