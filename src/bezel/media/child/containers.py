"""Whether the container of a sound or video is whole. Decoders play what is there and say nothing of the rest.

MP3 has none (`mp3.py`).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable

from bezel.media.formats import Format
from bezel.media.protocol import Failure, RefusedError

_UNKNOWN_WAV = 0x7FFFF000  # and above: programs that write to a pipe cannot know the size
_CHUNK = re.compile(rb"[A-Za-z0-9_ ]{4}")
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675


def whole(format: Format, data: bytes) -> bytes:
    """`data` as its decoder wants it. RefusedError where it is cut off, lacks parts or is several streams in a row."""
    try:
        if format is Format.OGG:
            return _ended(data, _ogg(data))
        if format is Format.WAV:
            return _sized(data)
        if format in _CHECKS:
            _CHECKS[format](data)
        return data
    except (struct.error, IndexError):
        raise RefusedError(Failure.TRUNCATED) from None


def _sized(data: bytes) -> bytes:
    """A WAV with the size of its samples: programs that write to a pipe, or are ended early, leave it at 0."""
    place = 12
    while True:
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"data":
            break
        place += 8 + size + (size & 1)
    held = len(data) - place - 8
    if size == 0 and held and not _are_chunks(data, place + 8):
        return data[: place + 4] + struct.pack("<I", min(held, _UNKNOWN_WAV)) + data[place + 8 :]
    if held < size < _UNKNOWN_WAV:
        raise RefusedError(Failure.TRUNCATED)
    return data


def _are_chunks(data: bytes, place: int) -> bool:
    """Whether chunks, and no samples, fill a WAV from `place` to its end."""
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if not _CHUNK.fullmatch(name):
            return False
        place += 8 + size + (size & 1)
    return place - len(data) in (0, 1)


def _ogg(data: bytes) -> int:
    """Where the last page begins; every page is there, whole and in order."""
    place, last, expected, serial = 0, 0, 0, None
    while place < len(data):
        start, version, number, sequence, check, segments = struct.unpack_from("<4sBx8xIIIB", data, place)
        lengths = data[place + 27 : place + 27 + segments]
        end = place + 27 + segments + sum(lengths)
        if start != b"OggS" or version != 0:
            raise RefusedError(Failure.CORRUPT)
        if len(lengths) < segments or end > len(data):
            raise RefusedError(Failure.TRUNCATED)
        if serial not in (None, number):
            raise RefusedError(Failure.SEVERAL_STREAMS)
        if sequence != expected or _ogg_sum(data[place : place + 22] + bytes(4) + data[place + 26 : end]) != check:
            raise RefusedError(Failure.CORRUPT)
        place, last, expected, serial = end, place, expected + 1, number
    return last


def _ended(data: bytes, last: int) -> bytes:
    """With the mark on the last page, which libsndfile needs to find the length of Opus.

    Android's recorder, and so the voice notes of some messengers, lack it.
    """
    if data[last + 5] & 4:
        return data
    page = bytearray(data[last:])
    page[5] |= 4
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", _ogg_sum(bytes(page)))
    return data[:last] + page


def _ogg_sum(page: bytes) -> int:
    """Ogg's CRC, which is zlib's with the bits of bytes and of the sum reversed, and without its inversions."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _mp4(data: bytes) -> None:
    place, names = 0, set()
    while place < len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + 8)
        elif size == 0:
            size = len(data) - place
        if size < 8:
            raise RefusedError(Failure.CORRUPT)
        names.add(name)
        place += size
    if place > len(data) or b"moov" not in names:
        raise RefusedError(Failure.TRUNCATED)


def _webm(data: bytes) -> None:
    """Elements end where the file ends. Segments and clusters of live recordings have no size of their own."""
    place = 0
    while place < len(data):
        name, place = _webm_number(data, place, keep=True)
        size, begins = _webm_number(data, place, keep=False)
        known = size != (1 << 7 * (begins - place)) - 1
        if known and begins + size > len(data):
            raise RefusedError(Failure.TRUNCATED)
        if not known and name not in (_SEGMENT, _CLUSTER):
            raise RefusedError(Failure.CORRUPT)
        place = begins if name in (_SEGMENT, _CLUSTER) else begins + size


def _webm_number(data: bytes, place: int, keep: bool) -> tuple[int, int]:
    """The number at `place`, with its length marker or without, and where it ends."""
    length = 9 - data[place].bit_length()
    if length > 8:
        raise RefusedError(Failure.CORRUPT)
    raw = data[place : place + length]
    if len(raw) < length:
        raise RefusedError(Failure.TRUNCATED)
    number = int.from_bytes(raw, "big")
    return (number if keep else number & (1 << 7 * length) - 1), place + length


_CHECKS: dict[Format, Callable[[bytes], None]] = {
    Format.MP4: _mp4,
    Format.WEBM: _webm,
}
