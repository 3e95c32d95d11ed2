"""What is wrong with raw input, made on purpose: rows and pictures that a cleaner must find, each with the name of its fault."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any, cast

from PIL import Image, ImageDraw

from intarsia.simulator.listing import RawRow

BOMB_SIDE_PX = 30_000  # 900 million pixels out of a file of 110 kB
_OVERLONG_TITLE_CHARS, _OVERLONG_ID_CHARS = 5_000, 400

_Row = dict[str, Any]


def rotten_line(kind: str, row: RawRow, number: int) -> bytes:
    """A line of products.jsonl with one fault, without its line end.

    Args:
        kind: a key of ROTTEN_KINDS.
        row: a sound row of some product.
        number: of the rotten row; but for `duplicate_id` the line is about a product of its own, R and this number.
    """
    broken: _Row = dict(cast(_Row, row))
    if kind != "duplicate_id":
        broken["sku"] = f"R{number:06d}"
    ROTTEN_KINDS[kind](broken)
    line = json.dumps(broken, ensure_ascii=False).encode()
    if kind == "broken_json":
        return line[: len(line) * 2 // 3]
    if kind == "invalid_utf8":
        return line.replace(b'"name": "', b'"name": "\xff\xfe\xb2', 1)
    return line


def _set(**values: object) -> Callable[[_Row], None]:
    return lambda row: row.update(values)


def _as_it_is(row: _Row) -> None:
    """The fault is not in a value."""


ROTTEN_KINDS: dict[str, Callable[[_Row], None]] = {
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
    "number_of_no_price": _set(price="12.3.4"),
    "unknown_currency": _set(currency="ZZQ", price="12.50"),
    "bad_date": _set(updated="2025-13-45T99:00:00Z"),
    "bad_stock": _set(stock="plenty"),
    "empty_category": _set(categories=" ", category_code=""),
    "unknown_locale": _set(lang="tlh"),
    "broken_json": _as_it_is,
    "invalid_utf8": _as_it_is,
}
"""Kind -> what it does to a row. `empty_category` may be kept by a lenient cleaner; the truth judges no such product."""


def bad_image_name(kind: str, name: str) -> str:
    """The path that a row with this bad picture gives, where a sound one would give `name`."""
    if kind == "bomb":
        return name.rsplit(".", 1)[0] + ".png"
    return f"../outside/{name.rsplit('/', 1)[-1]}" if kind == "outside_folder" else name


def bad_image(kind: str, sound: bytes, side_px: int) -> bytes | None:
    """The bytes of a bad picture, or None when there is no file.

    Args:
        kind: one of `truth.BAD_IMAGE_KINDS`.
        sound: the JPEG that should have been there.
        side_px: side of the shop's pictures.
    """
    if kind == "truncated":
        return sound[: len(sound) // 3]
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
    """The one picture that the shop shows where it has none."""
    image = Image.new("RGB", (side_px, side_px), (226, 226, 226))
    pen, low, high = ImageDraw.Draw(image), side_px * 0.3, side_px * 0.7
    pen.rectangle((low, low, high, high), outline=(150, 150, 150), width=max(2, side_px // 50))
    pen.line((low, low, high, high), fill=(150, 150, 150), width=max(2, side_px // 50))
    pen.text((low, high + 4), "NO IMAGE", fill=(120, 120, 120))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _bomb() -> bytes:
    """A sound PNG of one bit per pixel, all black, written row by row."""
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
