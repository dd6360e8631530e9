"""Width, height and number of frames of a picture, from its headers alone; nothing is decompressed."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from bezel.media.formats import Format
from bezel.media.protocol import Failure, RefusedError

MOST_SCANS = 200  # of a progressive JPEG, each of which costs a pass over all pixels; encoders write about ten
_MOST_SEGMENTS = 10_000  # of a JPEG; long profiles take hundreds
_MOST_PADDING = 1 << 12  # bytes before a segment, which Pillow reads one by one
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # any other byte behind FF means nothing, or parts pixels
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)  # and coded by Huffman
_BMP_UNPACKED = (0, 3, 6)  # plain, bit fields; run lengths are not read


@dataclass(frozen=True)
class Header:
    width: int
    height: int
    frames: int = 1
    end: int | None = None
    """Of a JPEG of one scan: where its pixels end."""


def read_header(format: Format, data: bytes, most_frames: int) -> Header:
    """Counts frames to `most_frames` + 1 at most. Raises RefusedError where the file is cut off or makes no sense."""
    try:
        header = _READERS[format](data, most_frames)
    except (struct.error, IndexError):
        raise RefusedError(Failure.TRUNCATED) from None
    if not 0 < header.width <= 1 << 31 or not 0 < header.height <= 1 << 31 or header.frames < 1:
        raise RefusedError(Failure.CORRUPT)
    return header


def _png(data: bytes, most_frames: int) -> Header:
    """Chunks must reach to the last, IEND, and those with pixels be unbroken, of which Pillow is less sure."""
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    if name != b"IHDR" or length != 13:
        raise RefusedError(Failure.CORRUPT)
    frames, place, palette = 1, 8, data[25] != 3
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, place)
        (check,) = struct.unpack_from(">I", data, place + 8 + length)
        if name in (b"IDAT", b"fdAT") and zlib.crc32(memoryview(data)[place + 4 : place + 8 + length]) != check:
            raise RefusedError(Failure.CORRUPT)
        palette = palette or name == b"PLTE"
        if name == b"acTL":
            (frames,) = struct.unpack_from(">I", data, place + 8)
        place += 12 + length
    if not palette:
        raise RefusedError(Failure.CORRUPT)
    return Header(width, height, max(1, frames))


def _jpeg(data: bytes, most_frames: int) -> Header:
    """Segments and scans are walked to the end of the picture. What is behind, such as a film, may hold anything."""
    place, scans, alone = 2, 0, False
    width = height = components = 0
    sequential = False
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None:
            raise RefusedError(Failure.TRUNCATED)
        if not scans and found.start() > place + _MOST_PADDING:
            break
        place, code = found.start(), data[found.start() + 1]
        if alone or (scans and code == 0xD9):
            return Header(width, height, end=place if alone else None)
        (length,) = struct.unpack_from(">H", data, place + 2)
        if code in _FRAMES and not width:
            height, width, components = struct.unpack_from(">HHB", data, place + 5)
            sequential = code in _SEQUENTIAL
        elif code == 0xDA:
            scans += 1
            alone = sequential and data[place + 4] == components
        if code in (0xD8, 0xD9) or length < 2 or scans > (MOST_SCANS if width else 0):
            break
        place += 2 + length
    raise RefusedError(Failure.CORRUPT)


def _webp(data: bytes, most_frames: int) -> Header:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise RefusedError(Failure.TRUNCATED)
    (name,) = struct.unpack_from("<4s", data, 12)
    if name == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        return Header(width, height, _webp_frames(data, most_frames) if data[20] & 2 else 1)
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF)
    raise RefusedError(Failure.CORRUPT)


def _webp_frames(data: bytes, most_frames: int) -> int:
    place, frames = 12, 0
    while place + 8 <= len(data) and frames <= most_frames:
        name, length = struct.unpack_from("<4sI", data, place)
        frames += name == b"ANMF"
        place += 8 + length + (length & 1)
    return frames


def _gif(data: bytes, most_frames: int) -> Header:
    """The screen, widened to where frames stand, as Pillow does; the blocks must end in a trailer."""
    width, height, packed = struct.unpack_from("<HHB", data, 6)
    place = 13 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
    frames = 0
    while data[place] != 0x3B:
        if data[place] == 0x2C:
            left, top, wide, high, packed = struct.unpack_from("<HHHHB", data, place + 1)
            width, height = max(width, left + wide), max(height, top + high)
            place += 11 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)  # and the size of codes
            frames += 1
            if frames > most_frames:
                break
        elif data[place] == 0x21:
            place += 2
        else:
            raise RefusedError(Failure.CORRUPT)
        while data[place]:
            place += 1 + data[place]
        place += 1
    return Header(width, height, frames)


def _bmp(data: bytes, most_frames: int) -> Header:
    (length,) = struct.unpack_from("<I", data, 14)
    if length == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return Header(width, height)
    if length < 40:
        raise RefusedError(Failure.CORRUPT)
    width, height, _, _, packing = struct.unpack_from("<iiHHI", data, 18)
    if packing not in _BMP_UNPACKED:
        raise RefusedError(Failure.ENCODING)
    return Header(width, abs(height))


_READERS: dict[Format, Callable[[bytes, int], Header]] = {
    Format.PNG: _png,
    Format.JPEG: _jpeg,
    Format.WEBP: _webp,
    Format.GIF: _gif,
    Format.BMP: _bmp,
}
