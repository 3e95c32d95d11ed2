from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from intarsia.ids import ReleaseId, RequestId
from intarsia.records.query import Query
from intarsia.records.served import IMAGE_NOT_STORED, ServedRequest, is_sampled

QUERY = Query(request_id=RequestId("q"), text="red bag", asked_at=datetime(2026, 5, 1, tzinfo=UTC))
SERVED = ServedRequest(query=QUERY, release_id=ReleaseId("r"), digest=b"12345678")
MANY = [RequestId(f"request-{number}") for number in range(10_000)]


def test_the_image_of_a_query_is_not_stored() -> None:
    with pytest.raises(AssertionError, match="the image of a query is not stored"):
        replace(SERVED, query=replace(QUERY, image=b"GIF89a"))
    assert replace(SERVED, query=replace(QUERY, image=IMAGE_NOT_STORED)).request_id == "q"


def test_only_requests_that_all_stages_served_are_replayable() -> None:
    assert SERVED.is_replayable
    assert not replace(SERVED, digest=b"").is_replayable
    assert not replace(SERVED, degraded=("fuser: deadline 0 ms",)).is_replayable


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_sample_has_its_share_and_is_stable(share: float) -> None:
    chosen = [request_id for request_id in MANY if is_sampled(request_id, share)]
    assert chosen == [request_id for request_id in MANY if is_sampled(request_id, share)]
    deviation = (share * (1 - share) / len(MANY)) ** 0.5
    assert abs(len(chosen) / len(MANY) - share) < 4 * deviation


def test_a_larger_sample_contains_every_smaller_one() -> None:
    shares = (0.0, 0.25, 0.5, 1.0)
    chosen = [{request_id for request_id in MANY if is_sampled(request_id, share)} for share in shares]
    assert chosen[0] == set() < chosen[1] < chosen[2] < chosen[3] == set(MANY)
