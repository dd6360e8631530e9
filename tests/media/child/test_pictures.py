"""Pictures of every format and mode come out as RGB, upright, what is transparent over white."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bezel.errors import CorruptMediaError, MediaTooLargeError, UnsupportedMediaError
from bezel.media.decoding import decode_frames, decode_image
from bezel.media.limits import Limits
from tests.media.samples import chunk, colours, encoded, gif, png

RGB = colours()


def far(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("format", "options", "most"),
    [
        ("PNG", {}, 0),
        ("PNG", {"optimize": True}, 0),
        ("BMP", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 16),
        ("JPEG", {"quality": 98, "subsampling": 0}, 8),
        ("JPEG", {"quality": 98, "progressive": True, "subsampling": 0}, 8),
    ],
)
@pytest.mark.parametrize("shape", [(37, 53), (1, 1), (1, 700), (700, 3)])
def test_colours_survive(format: str, options: dict[str, object], most: int, shape: tuple[int, int]) -> None:
    picture = colours(*shape)
    found = decode_image(encoded(Image.fromarray(picture), format, **options))
    most = most if min(shape) > 3 else 4 * most  # lossy formats share a colour among 2 x 2 pixels
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    assert far(found, picture) <= most


def test_pictures_of_more_than_one_band_are_whole() -> None:
    picture = colours(1111, 1300)
    assert far(decode_image(encoded(Image.fromarray(picture), "PNG", compress_level=1)), picture) == 0


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP"])
def test_palettes(format: str) -> None:
    image = Image.fromarray(RGB).quantize(64)
    assert far(decode_image(encoded(image, format)), np.array(image.convert("RGB"))) == 0


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP"])
def test_grey(format: str) -> None:
    grey = Image.fromarray(RGB[:, :, 2])
    found = decode_image(encoded(grey, format, **({"quality": 98} if format == "JPEG" else {})))
    assert far(found, np.repeat(RGB[:, :, 2:], 3, axis=2)) <= (4 if format == "JPEG" else 0)


@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_black_and_white(format: str) -> None:
    image = Image.fromarray(RGB[:, :, 0] > 99)
    assert far(decode_image(encoded(image, format)), np.array(image.convert("RGB"))) == 0


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_what_is_transparent_lies_over_white(format: str, options: dict[str, object]) -> None:
    pixels = colours(channels=4)
    found = decode_image(encoded(Image.fromarray(pixels), format, **options))
    alpha = pixels[:, :, 3:].astype(float) / 255
    assert far(found, np.round(pixels[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)) <= 1
    assert found[0, 0].tolist() == [255, 255, 255] and pixels[0, 0].tolist() == [0, 0, 0, 0]


def test_grey_with_alpha() -> None:
    pixels = np.zeros((2, 2, 2), np.uint8)
    pixels[:, 1] = (40, 255)
    found = decode_image(encoded(Image.fromarray(pixels, "LA"), "PNG"))
    assert found[0, 0].tolist() == [255] * 3 and found[1, 1].tolist() == [40] * 3


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette(format: str) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8)).convert("P")
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 0, 200])
    found = decode_image(encoded(image, format, transparency=0))
    assert found.tolist() == [[[255] * 3, [200, 0, 0]], [[0, 0, 200], [255] * 3]]


@pytest.mark.parametrize(
    ("colour", "transparent", "depth", "pixel"),
    [
        (0, (7,), 8, bytes([7, 8])),
        (2, (7, 7, 7), 8, bytes([7, 7, 7, 8, 8, 8])),
        (2, (7, 7, 7), 16, bytes([0, 7] * 3 + [8, 7] * 3)),
        (2, (0x700, 0x707, 0x7FF), 16, bytes([7, 0, 7, 7, 7, 255] + [8, 7] * 3)),
    ],
)
def test_a_transparent_colour_without_a_palette(
    colour: int, transparent: tuple[int, ...], depth: int, pixel: bytes
) -> None:
    body = struct.pack(f">{len(transparent)}H", *transparent)
    found = decode_image(png(2, 1, chunk(b"tRNS", body), colour=colour, depth=depth, pixels=b"\0" + pixel))
    assert found.tolist() == [[[255] * 3, [8] * 3]]


@pytest.mark.parametrize(("depth", "pixels"), [(1, b"\x40"), (2, b"\x1b"), (4, b"\x0f\x30"), (8, b"\x00\xff\x30")])
def test_a_transparent_grey_of_few_bits(depth: int, pixels: bytes) -> None:
    bits = "".join(f"{byte:08b}" for byte in pixels)
    greys = [int(bits[place : place + depth], 2) for place in range(0, len(bits), depth)]
    for grey in set(greys):
        body = chunk(b"tRNS", struct.pack(">H", grey))
        data = png(len(greys), 1, body, colour=0, depth=depth, pixels=b"\0" + pixels)
        expected = [255 if other == grey else other * 255 // ((1 << depth) - 1) for other in greys]
        assert decode_image(data)[0, :, 0].tolist() == expected


def test_sixteen_bits_keep_their_high_byte() -> None:
    values = np.array([[0, 255, 256, 0x1234, 0x8000, 0xFFFF]], ">u2")
    high = [0, 0, 1, 0x12, 0x80, 0xFF]
    grey = png(6, 1, depth=16, colour=0, pixels=b"\0" + values.tobytes())
    assert decode_image(grey)[0].tolist() == [[value] * 3 for value in high]
    seen = png(6, 1, chunk(b"tRNS", b"\x12\x34"), depth=16, colour=0, pixels=b"\0" + values.tobytes())
    assert decode_image(seen)[0, 2:5].tolist() == [[1] * 3, [255] * 3, [0x80] * 3]
    colour = png(6, 1, depth=16, colour=2, pixels=b"\0" + np.repeat(values, 3, axis=0).T.tobytes())
    assert decode_image(colour)[0].tolist() == [[value] * 3 for value in high]
    alpha = png(1, 1, depth=16, colour=4, pixels=b"\0\x40\x00\x00\x00")
    assert decode_image(alpha).tolist() == [[[255] * 3]]


def test_cmyk() -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, 8:] = (255, 0, 0, 0)
    found = decode_image(encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=98, subsampling=0))
    assert far(found[:, :7], np.full((16, 7, 3), 255, np.uint8)) <= 4
    assert far(found[:, 9:], np.broadcast_to(np.array([0, 255, 255], np.uint8), (16, 7, 3)).copy()) <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientations_are_undone(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}[format]
    found = decode_image(encoded(Image.fromarray(RGB), format, exif=exif, **options))
    rows = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, 1),
    }[orientation]
    assert far(found, rows) <= (8 if format == "JPEG" else 0)


def test_broken_exif_does_not_cost_the_picture() -> None:
    data = encoded(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(8))
    assert far(decode_image(data), RGB) == 0


def test_the_second_picture_of_a_phones_jpeg_is_left_alone() -> None:
    other = Image.fromarray(RGB[::-1].copy())
    data = encoded(Image.fromarray(RGB), "MPO", save_all=True, append_images=[other], quality=98, subsampling=0)
    assert b"MPF" in data
    assert far(decode_image(data), RGB) <= 8


def animation(format: str) -> bytes:
    """Three frames of 100, 200 and 700 ms: red, green, blue."""
    shown = [Image.new("RGB", (6, 4), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    options = {"lossless": True} if format == "WEBP" else {}
    return encoded(shown[0], format, save_all=True, append_images=shown[1:], duration=[100, 200, 700], **options)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_frames_of_animations(format: str) -> None:
    data = animation(format)
    with pytest.raises(UnsupportedMediaError, match="animation of 3 frames"):
        decode_image(data)
    found = decode_frames(data)
    assert found.seconds == pytest.approx((0.0, 0.1, 0.3))
    assert [picture[3, 5].tolist() for picture in found.pictures] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    some = decode_frames(data, per_second=2)
    assert [picture[0, 0].tolist() for picture in some.pictures] == [[255, 0, 0], [0, 0, 255]]
    with pytest.raises(MediaTooLargeError, match="3 frames or more"):
        decode_frames(data, Limits(frames=2))
    with pytest.raises(MediaTooLargeError, match="3 frames or more, of 24 pixels"):
        decode_frames(data, Limits(pixels=71))
    assert len(decode_frames(data, Limits(pixels=72)).pictures) == 3


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("milliseconds", [20, 30, 40, 70, 100])
def test_as_many_frames_a_second_as_there_are(format: str, milliseconds: int) -> None:
    shown = [Image.new("L", (2, 2), 12 * number) for number in range(20)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(shown[0], format, save_all=True, append_images=shown[1:], duration=milliseconds, **options)
    found = decode_frames(data, per_second=1000 / milliseconds)
    assert found.seconds == pytest.approx([number * milliseconds / 1000 for number in range(20)])
    half = decode_frames(data, per_second=500 / milliseconds)
    assert half.seconds == pytest.approx(found.seconds[::2])


def test_the_only_frame_of_an_animation_with_another_picture() -> None:
    head = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 10, 0, 0)
    frame = [chunk(b"fcTL", head), chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(b"\0\2\2\2"))]
    other = png(1, 1, chunk(b"acTL", struct.pack(">II", 1, 0)), pixels=b"\0\1\1\1")
    data = other[:-12] + b"".join(frame) + other[-12:]
    assert [picture.tolist() for picture in decode_frames(data).pictures] == [[[[2, 2, 2]]]]
    assert [picture.tolist() for picture in decode_frames(data, per_second=5).pictures] == [[[[2, 2, 2]]]]
    assert decode_image(data).tolist() == [[[1, 1, 1]]]


def test_a_still_picture_is_one_frame() -> None:
    found = decode_frames(encoded(Image.fromarray(RGB), "PNG"))
    assert found.seconds == (0.0,) and far(found.pictures[0], RGB) == 0


def test_a_limit_is_reached_and_not_passed() -> None:
    data = encoded(Image.fromarray(RGB), "PNG")
    assert decode_image(data, Limits(pixels=37 * 53, bytes=len(data))).shape == RGB.shape
    with pytest.raises(MediaTooLargeError, match=r"53 x 37 pixels; at most 1,960"):
        decode_image(data, Limits(pixels=37 * 53 - 1))
    with pytest.raises(MediaTooLargeError, match="bytes"):
        decode_image(data, Limits(bytes=len(data) - 1))


WHOLE = {
    "PNG": encoded(Image.fromarray(RGB), "PNG"),
    "JPEG": encoded(Image.fromarray(RGB), "JPEG"),
    "progressive JPEG": encoded(Image.fromarray(RGB), "JPEG", progressive=True),
    "WEBP": encoded(Image.fromarray(RGB), "WEBP"),
    "lossless WEBP": encoded(Image.fromarray(RGB), "WEBP", lossless=True),
    "GIF": encoded(Image.fromarray(RGB), "GIF"),
    "BMP": encoded(Image.fromarray(RGB[:, :52]), "BMP"),  # rows without padding, which would not be missed
    "animated GIF": animation("GIF"),
    "animated WEBP": animation("WEBP"),
    "animated PNG": animation("PNG"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_anywhere_is_an_error(name: str) -> None:
    data = WHOLE[name]
    assert decode_frames(data).pictures
    for cut in {*range(16, len(data), max(1, len(data) // 50)), *range(len(data) - 30, len(data))}:
        with pytest.raises(CorruptMediaError):
            decode_frames(data[:cut])


@pytest.mark.parametrize(
    "data",
    [
        png(4, 4, pixels=bytes(3 * 13))[:-30] + bytes(30),
        png(4, 4, pixels=bytes(20)),
        png(4, 4, pixels=bytes(4 * 13)).replace(b"IHDR", b"IHDX"),
        gif(1)[:-1] + b"\x99",
        encoded(Image.fromarray(RGB), "PNG")[:-20] + b"\x55" + encoded(Image.fromarray(RGB), "PNG")[-19:],
        b"BM" + bytes(60),
        b"\xff\xd8\xff\xd9",
        b"GIF89a</script>" + bytes(40),
    ],
)
def test_broken_pictures(data: bytes) -> None:
    with pytest.raises(CorruptMediaError, match=r"broken|cut off"):
        decode_image(data)


def test_run_lengths_of_bmp_are_not_read() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 1, 0, 0, 0, 0, 0)
    with pytest.raises(UnsupportedMediaError, match="convert it"):
        decode_image(b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + head + bytes(1200))


def test_compressed_text_does_not_unfold() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 << 20), 9))
    data = png(1, 1, text, pixels=bytes(4))
    with pytest.raises(CorruptMediaError):
        decode_image(data, Limits(memory=32 << 20))


def test_little_memory_is_told_from_a_broken_file() -> None:
    data = encoded(Image.new("RGB", (4000, 4000)), "WEBP", lossless=True)
    with pytest.raises(MediaTooLargeError, match="memory"):
        decode_image(data, Limits(memory=40 << 20, bytes=1 << 20))
    with pytest.raises(CorruptMediaError, match="broken"):
        decode_image(data[:40] + bytes(len(data) - 40))
