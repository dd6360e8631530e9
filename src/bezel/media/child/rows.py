"""Whether the rows of a PNG are all there: Pillow leaves those black that compressed data ends before."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from bezel.media.protocol import Failure, RefusedError

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PART, _BLOCK = 1 << 16, 1 << 18  # bytes that are decompressed at a time, and bytes that come of them


def check_rows(image: Any, data: bytes) -> None:
    """Raises RefusedError where the file of a loaded `image` has too few rows for it, or for a frame.

    Rows are written in order, so where the last is not zeros all are there, and nothing is decompressed again.
    """
    last = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
    in_order = not image.info.get("interlace") and not getattr(image, "is_animated", False)
    if not (in_order and last.count(0) < len(last)) and not _all_there(data, image.n_frames):
        raise RefusedError(Failure.TRUNCATED)


def _all_there(data: bytes, most_frames: int) -> bool:
    """Decompresses up to `most_frames` pictures, and of each no more than it needs."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * _CHANNELS[colour]
    pictures = [_Picture(width, height, bits, interlaced)]
    place, name = 8, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, place)
        body = memoryview(data)[place + 8 : place + 8 + length]
        if name == b"fcTL":
            wide, high = struct.unpack_from(">II", body, 4)
            if wide > width or high > height:
                raise RefusedError(Failure.CORRUPT)
            if not pictures[-1].begun:  # the frame is the picture that others show
                pictures.pop()
            elif len(pictures) == most_frames:
                break
            pictures.append(_Picture(wide, high, bits, interlaced))
        elif name in (b"IDAT", b"fdAT"):
            pictures[-1].add(body[4:] if name == b"fdAT" else body)
        place += 12 + length
    return all(picture.missing <= 0 for picture in pictures)


class _Picture:
    """How many bytes of its filtered rows have not come yet."""

    def __init__(self, width: int, height: int, bits: int, interlaced: int) -> None:
        passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
        sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
        self.missing = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
        self.begun = False
        self._zlib = zlib.decompressobj()

    def add(self, data: memoryview) -> None:
        self.begun = True
        for place in range(0, len(data), _PART):
            part: memoryview | bytes = data[place : place + _PART]
            while self.missing > 0 and not self._zlib.eof:
                block = self._zlib.decompress(part, _BLOCK)
                self.missing -= len(block)
                part = self._zlib.unconsumed_tail
                if len(block) < _BLOCK and not part:
                    break
