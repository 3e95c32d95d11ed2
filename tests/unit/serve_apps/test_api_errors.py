"""Field paths, image URLs and image types of responses."""

from __future__ import annotations

import pytest

from serve_apps.http.errors import dotted
from serve_apps.http.responses import image_type, image_url


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ((), "body"),
        (("text",), "text"),
        (("filters", "brands", 0), "filters.brands[0]"),
        ((3, "position"), "[3].position"),
    ],
)
def test_a_path_reads_like_code(location: tuple[str | int, ...], path: str) -> None:
    assert dotted(location) == path


def test_an_id_becomes_one_segment_of_an_address() -> None:
    assert image_url("a/b c?d#e&红", 2) == "/v1/products/a%2Fb%20c%3Fd%23e%26%E7%BA%A2/images/2"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"<svg onload=alert(1)>", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_an_image_is_never_sent_as_a_type_that_a_browser_executes(content: bytes, kind: str) -> None:
    assert image_type(content) == kind
