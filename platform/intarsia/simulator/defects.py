"""Deliberate defects of the raw input: bad rows, bad images and bad events, each of a named kind."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from PIL import Image, ImageDraw

from intarsia.simulator.listing import ExportRow

BOMB_SIDE_PX = 30_000  # 900 million pixels out of a file of 110 kB
_OVERLONG_TITLE_CHARS, _OVERLONG_ID_CHARS = 5_000, 400

_Row = dict[str, Any]


def bad_line(kind: str, row: ExportRow, number: int) -> bytes:
    """A line of products.jsonl with one defect, without its line end.

    Args:
        kind: a key of `BAD_ROW_KINDS`.
        row: the valid row of a product.
        number: number of the bad row. The line gets the id R and this number, except for `duplicate_id`.
    """
    broken: _Row = dict(cast(_Row, row))
    if kind != "duplicate_id":
        broken["sku"] = f"R{number:06d}"
    BAD_ROW_KINDS[kind](broken)
    line = json.dumps(broken, ensure_ascii=False).encode()
    if kind == "broken_json":
        return line[: len(line) * 2 // 3]
    if kind == "invalid_utf8":
        return line.replace(b'"name": "', b'"name": "\xff\xfe\xb2', 1)
    return line


def _set(**values: object) -> Callable[[_Row], None]:
    return lambda row: row.update(values)


def _keep_values(row: _Row) -> None:
    """The defect is in the line, not in a value."""


BAD_ROW_KINDS: dict[str, Callable[[_Row], None]] = {
    "missing_id": lambda row: row.pop("sku"),
    "blank_id": _set(sku="  "),
    "overlong_id": lambda row: row.update(sku=row["sku"] + "-" * _OVERLONG_ID_CHARS),
    "duplicate_id": lambda row: row.update(name=f"{row['name']} *"),
    "missing_title": _set(name=None),
    "blank_title": _set(name=" \t "),
    "overlong_title": lambda row: row.update(
        name=(row["name"] + " ") * (_OVERLONG_TITLE_CHARS // len(row["name"]) + 1)
    ),
    "control_title": _set(name="\u0000\u0007\u0008\u200b\u001f"),
    "wrong_type": lambda row: row.update(name={"text": row["name"]}),
    "negative_price": _set(price="-12.50"),
    "unparsable_price": _set(price="ask us"),
    "malformed_price": _set(price="12.3.4"),
    "unknown_currency": _set(currency="ZZQ", price="12.50"),
    "bad_date": _set(updated="2025-13-45T99:00:00Z"),
    "bad_stock": _set(stock="plenty"),
    "empty_category": _set(categories=" ", category_code=""),
    "unknown_locale": _set(lang="tlh"),
    "broken_json": _keep_values,
    "invalid_utf8": _keep_values,
}
"""Kind -> function that changes a row. A cleaner may keep `empty_category`; no judgment names such a product."""


def bad_image_name(kind: str, name: str) -> str:
    """The path of a bad image in its row; `name` is the path of a valid one."""
    if kind == "bomb":
        return name.rsplit(".", 1)[0] + ".png"
    return f"../outside/{name.rsplit('/', 1)[-1]}" if kind == "outside_folder" else name


def bad_image(kind: str, valid: bytes, side_px: int) -> bytes | None:
    """The bytes of a bad image, or None when there is no file.

    Args:
        kind: one of `truth.BAD_IMAGE_KINDS`.
        valid: the JPEG that it replaces.
        side_px: width and height of the images of the shop.
    """
    if kind == "truncated":
        return valid[: len(valid) // 3]
    if kind == "placeholder":
        return _placeholder(side_px)
    if kind == "empty_file":
        return b""
    if kind == "bomb":
        return _bomb()
    if kind == "not_an_image":
        return b"<html><body>404 Not Found</body></html>\n"
    assert kind in ("missing_file", "outside_folder"), kind
    return None


def _placeholder(side_px: int) -> bytes:
    """The image that the shop shows for every product without one."""
    image = Image.new("RGB", (side_px, side_px), (226, 226, 226))
    pen, low, high = ImageDraw.Draw(image), side_px * 0.3, side_px * 0.7
    pen.rectangle((low, low, high, high), outline=(150, 150, 150), width=max(2, side_px // 50))
    pen.line((low, low, high, high), fill=(150, 150, 150), width=max(2, side_px // 50))
    pen.text((low, high + 4), "NO IMAGE", fill=(120, 120, 120))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _bomb() -> bytes:
    """A valid all-black PNG of one bit per pixel, compressed row by row."""
    packer, pieces = zlib.compressobj(9), []
    rows, row = 100, bytes(1 + BOMB_SIDE_PX // 8)  # a row is its filter byte and its bits
    for _ in range(BOMB_SIDE_PX // rows):
        pieces.append(packer.compress(row * rows))
    pieces.append(packer.flush())
    header = struct.pack(">IIBBBBB", BOMB_SIDE_PX, BOMB_SIDE_PX, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(pieces)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _swap_times(row: _Row) -> None:
    row["occurred_at"], row["received_at"] = row["received_at"], row["occurred_at"]


BAD_EVENT_KINDS: dict[str, Callable[[_Row], None]] = {
    "unknown_product": _set(product_id="P-GONE"),
    "negative_dwell": _set(dwell_ms=-4000),
    "unknown_kind": _set(kind="hover"),
    "occurred_after_received": _swap_times,
    "bad_position": _set(position=0),
    "bad_time": _set(occurred_at="yesterday"),
    "missing_event_id": lambda row: row.pop("event_id"),
    "broken_json": lambda row: None,
}
"""Kind -> function that changes a row of events.jsonl; `broken_json` truncates the line instead."""


def bad_event_line(kind: str, row: Mapping[str, Any]) -> bytes:
    """A line of events.jsonl with one defect, without its line end; `kind` is a key of `BAD_EVENT_KINDS`."""
    changed = dict(row)
    BAD_EVENT_KINDS[kind](changed)
    line = json.dumps(changed).encode()
    return line[: len(line) // 2] if kind == "broken_json" else line
