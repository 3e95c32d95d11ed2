from __future__ import annotations

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from intarsia.image import ImageError, ImageFault, decode, size_of

RED, GREEN, WHITE = [255, 0, 0], [0, 255, 0], [255, 255, 255]
ORIENTATION = 0x0112  # EXIF tag: orientation of the camera


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header has this size, without pixel data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def checkered(size: int = 24) -> Image.Image:
    values = np.random.default_rng(3).integers(0, 255, (size, size, 3), np.uint8)
    return Image.fromarray(values)


WHOLE = {
    format: saved(checkered(), format, **options)
    for format, options in {
        "PNG": {},
        "JPEG": {"quality": 80},
        "GIF": {},
        "WEBP": {"lossless": True},
        "BMP": {},
        "TIFF": {"compression": "tiff_lzw"},
    }.items()
}


def test_pixels_come_as_height_width_and_three_colours() -> None:
    values = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    pixels = decode(saved(Image.fromarray(values)))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, values)


@pytest.mark.parametrize("format", sorted(WHOLE))
def test_common_formats_are_read(format: str) -> None:
    assert decode(WHOLE[format]).shape == (24, 24, 3)
    assert size_of(WHOLE[format]) == (24, 24)


def test_an_image_of_one_pixel_is_read() -> None:
    content = saved(Image.new("RGB", (1, 1), (1, 2, 3)))
    assert decode(content).tolist() == [[[1, 2, 3]]]
    assert size_of(content) == (1, 1)


def test_transparent_pixels_are_blended_with_white() -> None:
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.putpixel((2, 0), (255, 0, 0, 128))
    solid, clear, half = decode(saved(image))[0].tolist()
    assert (solid, clear) == (RED, WHITE)
    assert half == [255, 127, 127]  # 255 * (1 - 128 / 255)


def test_a_transparent_colour_becomes_white() -> None:
    assert decode(saved(Image.new("RGB", (1, 1), (9, 9, 9)), transparency=(9, 9, 9))).tolist() == [[WHITE]]
    assert decode(saved(Image.new("L", (1, 1), 9), transparency=9)).tolist() == [[WHITE]]


def test_palette_images_are_read_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    assert decode(saved(image)).tolist() == [[RED, GREEN]]
    assert decode(saved(image, transparency=1)).tolist() == [[RED, WHITE]]
    assert decode(saved(image, transparency=b"\x00\xff")).tolist() == [[WHITE, GREEN]]
    assert decode(saved(image, "GIF", transparency=0)).tolist() == [[WHITE, GREEN]]


def test_a_cmyk_image_is_read() -> None:
    assert decode(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))[0, 0].tolist() == RED


def test_grey_is_three_equal_colours() -> None:
    assert decode(saved(Image.new("L", (1, 1), 7))).tolist() == [[[7, 7, 7]]]
    assert decode(saved(Image.new("1", (1, 1), 1))).tolist() == [[WHITE]]


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    grey = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for format in ("PNG", "TIFF"):
        pixels = decode(saved(Image.fromarray(grey), format))
        assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255]  # the high byte
        assert (pixels == pixels[:, :, :1]).all()


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (5, (0, 0)), (6, (0, -1)), (7, (-1, -1)), (8, (-1, 0))],
)
def test_an_image_is_rotated_by_its_exif_orientation(orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (3, 2), "white")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = decode(saved(image, exif=exif.tobytes()))
    assert pixels.shape == ((2, 3, 3) if orientation < 5 else (3, 2, 3))
    assert pixels[corner].tolist() == RED
    assert (pixels == RED).all(axis=2).sum() == 1


def test_empty_content_is_an_absent_image() -> None:
    for read in (decode, size_of):
        with pytest.raises(ImageError, match="the image has no bytes") as caught:
            read(b"")
        assert caught.value.fault is ImageFault.ABSENT


@pytest.mark.parametrize(
    "content",
    [b"<html>404</html>", b"\x00" * 100, b"\x89PNG\r\n\x1a\n", WHOLE["PNG"][:20], png_of_size(0, 5)],
    ids=["page", "zeros", "signature", "half a header", "no width"],
)
def test_bytes_that_are_not_an_image_are_unreadable(content: bytes) -> None:
    for read in (decode, size_of):
        with pytest.raises(ImageError, match="the bytes are not an image") as caught:
            read(content)
        assert caught.value.fault is ImageFault.UNREADABLE


@pytest.mark.parametrize("format", sorted(WHOLE))
def test_a_truncated_image_is_unreadable(format: str) -> None:
    content = WHOLE[format]
    with pytest.raises(ImageError, match=r"the image is damaged|the bytes are not an image") as caught:
        decode(content[: len(content) // 2])
    assert caught.value.fault is ImageFault.UNREADABLE


def test_an_eps_program_is_not_run() -> None:
    # Pillow passes EPS to Ghostscript, which executes it
    with pytest.raises(ImageError, match="the bytes are not an image"):
        decode(saved(Image.new("RGB", (2, 2)), "EPS"))


@pytest.mark.parametrize("side", [8_000, 10_000, 20_000])  # above our limit; Pillow warns; Pillow refuses
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    for read in (decode, size_of):
        with pytest.raises(ImageError, match=r"the image (has 8000x8000 pixels|is too large)") as caught:
            read(png_of_size(side, side))
        assert caught.value.fault is ImageFault.TOO_LARGE


def test_the_caller_may_set_the_limit_of_pixels() -> None:
    content = saved(Image.new("RGB", (4, 3)))
    assert decode(content, max_pixels=12).shape == (3, 4, 3)
    with pytest.raises(ImageError, match=r"the image has 4x3 pixels; allowed: 11 in all"):
        decode(content, max_pixels=11)
    with pytest.raises(ImageError, match=r"the image has 4x3 pixels; allowed: 11 in all"):
        size_of(content, max_pixels=11)


def test_an_image_error_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(ImageError(ImageFault.TOO_LARGE, "the image is too large")))
    assert (type(copy), copy.fault, str(copy)) == (ImageError, ImageFault.TOO_LARGE, "the image is too large")


@given(
    format=st.sampled_from(sorted(WHOLE)), at=st.floats(0, 1, exclude_max=True), dirt=st.binary(min_size=1, max_size=8)
)
@example(format="PNG", at=0.5, dirt=b"")
@pytest.mark.filterwarnings("ignore")  # warnings of Pillow about damaged files
def test_any_content_is_an_image_or_an_image_error(format: str, at: float, dirt: bytes) -> None:
    whole = WHOLE[format]
    position = int(at * len(whole))
    content = whole[:position] + dirt + whole[position + len(dirt) :]
    try:
        pixels = decode(content, max_pixels=1_000_000)
    except ImageError as error:
        faults, shape = {error.fault}, None
    else:
        faults, shape = set(), pixels.shape
        assert pixels.dtype == np.uint8
    assert faults <= {ImageFault.UNREADABLE, ImageFault.TOO_LARGE}
    assert shape is None or (len(shape) == 3 and shape[2] == 3)
