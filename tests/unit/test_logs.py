from __future__ import annotations

import logging

import pytest

from intarsia.logs import log_event, log_warning


def test_an_event_is_one_line_of_keys_and_values(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="intarsia"):
        log_event("search", request_id="q-1", took_ms=1.23456, num_hits=10, degraded=None)
    [record] = caplog.records
    assert record.getMessage() == "search request_id=q-1 took_ms=1.235 num_hits=10 degraded=None"
    assert record.levelno == logging.INFO


def test_a_warning_has_the_same_format(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="intarsia"):
        log_warning("degraded", stage="ranker")
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "degraded stage=ranker")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("deadline 40 ms", '"deadline 40 ms"'),
        ("one\ntwo release_id=r-0", '"one\\ntwo release_id=r-0"'),
        ('say "no"', '"say \\"no\\""'),
        ("红色", "红色"),
    ],
)
def test_a_value_with_white_space_or_quotes_is_quoted(caplog: pytest.LogCaptureFixture, value: str, text: str) -> None:
    with caplog.at_level(logging.INFO, logger="intarsia"):
        log_event("event", key=value)
    assert caplog.records[0].getMessage() == f"event key={text}"
