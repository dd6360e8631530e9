"""Width, height and number of frames of a picture, from its headers alone; nothing is decompressed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from bezel.media.formats import Format
from bezel.media.protocol import Failure, RefusedError

MOST_SCANS = 200  # of a progressive JPEG, each of which costs a pass over all pixels; encoders write about ten
_BMP_UNPACKED = (0, 3, 6)  # plain, bit fields; run lengths are not read


@dataclass(frozen=True)
class Header:
    width: int
    height: int
    frames: int = 1


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
    frames, place = 1, 8
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, place)
        (check,) = struct.unpack_from(">I", data, place + 8 + length)
        if name in (b"IDAT", b"fdAT") and zlib.crc32(memoryview(data)[place + 4 : place + 8 + length]) != check:
            raise RefusedError(Failure.CORRUPT)
        if name == b"acTL":
            (frames,) = struct.unpack_from(">I", data, place + 8)
        place += 12 + length
    return Header(width, height, max(1, frames))


def _jpeg(data: bytes, most_frames: int) -> Header:
    place = 2
    while True:
        while data[place] == 0xFF and data[place + 1] == 0xFF:  # padding
            place += 1
        mark, code, length = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF or length < 2 or code == 0xDA:
            raise RefusedError(Failure.CORRUPT)
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            break
        place += 2 + length
    if data.count(b"\xff\xda", place) > MOST_SCANS:
        raise RefusedError(Failure.CORRUPT)
    return Header(width, height)


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
