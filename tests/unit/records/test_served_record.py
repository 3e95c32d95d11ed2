from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from intarsia.ids import ReleaseId, RequestId
from intarsia.records.query import Query
from intarsia.records.served import IMAGE_LEFT_BEHIND, Served, is_in_share

QUERY = Query(request_id=RequestId("q"), text="red bag", asked_at=datetime(2026, 5, 1, tzinfo=UTC))
SERVED = Served(query=QUERY, release_id=ReleaseId("r"), digest=b"12345678")
MANY = [RequestId(f"request-{number}") for number in range(10_000)]


def test_a_shoppers_image_is_not_kept() -> None:
    with pytest.raises(AssertionError, match="a shopper's picture is not kept"):
        replace(SERVED, query=replace(QUERY, image=b"GIF89a"))
    assert replace(SERVED, query=replace(QUERY, image=IMAGE_LEFT_BEHIND)).request_id == "q"


def test_only_what_all_stages_worked_on_can_be_compared() -> None:
    assert SERVED.is_comparable
    assert not replace(SERVED, digest=b"").is_comparable
    assert not replace(SERVED, degraded=("fuser: deadline 0 ms",)).is_comparable


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_holds_about_so_many_requests_and_the_same_ones_each_time(share: float) -> None:
    chosen = [request_id for request_id in MANY if is_in_share(request_id, share)]
    assert chosen == [request_id for request_id in MANY if is_in_share(request_id, share)]
    deviation = (share * (1 - share) / len(MANY)) ** 0.5
    assert abs(len(chosen) / len(MANY) - share) < 4 * deviation


def test_a_larger_share_holds_every_smaller_one_and_the_ends_hold_none_and_all() -> None:
    shares = (0.0, 0.25, 0.5, 1.0)
    chosen = [{request_id for request_id in MANY if is_in_share(request_id, share)} for share in shares]
    assert chosen[0] == set() < chosen[1] < chosen[2] < chosen[3] == set(MANY)
