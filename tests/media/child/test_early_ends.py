"""A picture that ends before its last row is an error, also where the file says that it ends there."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bezel.errors import CorruptMediaError
from bezel.media.child import rows
from bezel.media.decoding import decode_frames, decode_image
from tests.media.samples import chunk, colours, encoded, png

RGB = colours(100, 150)
NOISE = np.random.default_rng(7).integers(0, 256, (100, 150, 3), np.uint8)
ENDED = b"\xff\xd9"


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"optimize": True}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_marked_as_ended_too_early(mode: str, options: dict[str, Any]) -> None:
    for pixels in (NOISE, RGB):
        data = encoded(Image.fromarray(pixels).convert(mode), "JPEG", **options)
        first = data.index(b"\xff\xda") + 14
        for share in (0.1, 0.5, 0.9):
            cut = data[: int(first + share * (len(data) - first))].rstrip(b"\xff")
            for rest in (ENDED, ENDED + bytes(1 << 16), bytes(1 << 16)):
                with pytest.raises(CorruptMediaError, match="cut off"):
                    decode_image(cut + rest)


def test_a_jpeg_with_more_rows_in_its_head_than_behind_it() -> None:
    data = bytearray(encoded(Image.fromarray(NOISE), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = struct.pack(">H", 1000)
    with pytest.raises(CorruptMediaError, match="cut off"):
        decode_image(bytes(data))


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (9, 17), (16, 700), (333, 5)])
@pytest.mark.parametrize("quality", [1, 60, 95])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_no_whole_jpeg_is_refused(shape: tuple[int, int], quality: int, mode: str) -> None:
    noise = np.random.default_rng(quality).integers(0, 256, (*shape, 3), np.uint8)
    choices: list[dict[str, Any]] = [{}, {"optimize": True}, {"restart_marker_blocks": 1}, {"progressive": True}]
    for pixels in (noise, colours(*shape), np.full((*shape, 3), 70, np.uint8)):
        for options in choices:
            data = encoded(Image.fromarray(pixels).convert(mode), "JPEG", quality=quality, **options)
            expected = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
            for whole in (data, data[:-2] + b"\0\0padding" + ENDED, data[:-2] + b"\xff\xfe\0\4hi" + ENDED):
                np.testing.assert_array_equal(decode_image(whole), expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_film_behind_a_jpeg_may_hold_anything(progressive: bool) -> None:
    data = encoded(Image.fromarray(NOISE), "JPEG", progressive=progressive)
    film = b"\xff\xda\0\x08 scan" * 1000 + b"\xff\xd8\xff\xe0" + bytes(100)
    np.testing.assert_array_equal(decode_image(data + film), decode_image(data))


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(
    ("depth", "colour"), [(1, 0), (2, 0), (4, 3), (8, 0), (8, 2), (8, 3), (8, 4), (16, 0), (16, 2), (16, 6)]
)
def test_rows_that_a_png_lacks(depth: int, colour: int, interlaced: int) -> None:
    palette = chunk(b"PLTE", bytes(range(48)))
    for width, height in ((1, 1), (3, 2), (5, 9), (13, 30)):
        head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
        need = rows._Picture(width, height, depth * rows._CHANNELS[colour], interlaced).missing

        def file(size: int, head: bytes = head) -> bytes:
            chunks = chunk(b"IHDR", head) + palette + chunk(b"IDAT", zlib.compress(bytes(size))) + chunk(b"IEND", b"")
            return b"\x89PNG\r\n\x1a\n" + chunks

        assert decode_image(file(need)).shape == decode_image(file(need + 9)).shape == (height, width, 3)
        with pytest.raises(CorruptMediaError, match="cut off"):
            decode_image(file(need - 1))


def test_some_rows_of_many() -> None:
    for whole in (1, 50, 99):
        with pytest.raises(CorruptMediaError, match="cut off"):
            decode_image(png(100, 100, pixels=(b"\0" + b"\xc8" * 300) * whole))
    assert decode_image(png(100, 100, pixels=bytes(301) * 100)).max() == 0


def frame(number: int, width: int, height: int, rows: int) -> bytes:
    head = struct.pack(">IIIIIHHBB", 2 * number, width, height, 0, 0, 1, 10, 0, 0)
    pixels = (b"\0" + b"\xc8" * 3 * width) * rows
    return chunk(b"fcTL", head) + chunk(b"fdAT", struct.pack(">I", 2 * number + 1) + zlib.compress(pixels))


def test_rows_that_a_frame_lacks() -> None:
    still = png(4, 4, chunk(b"acTL", struct.pack(">II", 2, 0)), pixels=(b"\0" + b"\x09" * 12) * 4)
    whole = still[:-12] + frame(0, 4, 4, 4) + frame(1, 2, 3, 3) + still[-12:]
    assert len(decode_frames(whole).pictures) == 2
    for frames in (frame(0, 4, 4, 4) + frame(1, 2, 3, 2), frame(0, 4, 4, 1) + frame(1, 2, 3, 3)):
        with pytest.raises(CorruptMediaError, match="cut off"):
            decode_frames(still[:-12] + frames + still[-12:])


def test_a_palette_that_is_not_there() -> None:
    with pytest.raises(CorruptMediaError):
        decode_image(png(2, 1, depth=8, colour=3, pixels=b"\0\1\2"))
