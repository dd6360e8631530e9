"""Whether the container of a sound or video is whole. Decoders play what is there and say nothing of the rest."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from bezel.media.formats import Format
from bezel.media.protocol import Failure, RefusedError

_UNKNOWN_WAV = 0x7FFFF000  # and above: programs that write to a pipe cannot know the size
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_MP3_KBITS = {  # layer III, by version
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_TAILS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675


def whole(format: Format, data: bytes) -> bytes:
    """`data` as its decoder wants it. RefusedError where it is cut off, lacks parts or is several streams in a row."""
    try:
        if format is Format.OGG:
            return _ended(data, _ogg(data))
        if format in _CHECKS:
            _CHECKS[format](data)
        return data
    except (struct.error, IndexError):
        raise RefusedError(Failure.TRUNCATED) from None


def _wav(data: bytes) -> None:
    place = 12
    while True:
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"data":
            break
        place += 8 + size + (size & 1)
    if size < _UNKNOWN_WAV and size > len(data) - place - 8:
        raise RefusedError(Failure.TRUNCATED)


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


def _mp3(data: bytes) -> None:
    """Frames follow each other to the end or to tags, and there are as many as the first one says."""
    place, frames, declared = 0, 0, None
    while place < len(data):
        if data[place] != 0xFF or len(data) - place < 4:
            after = _mp3_tag(data, place)
            if after is None:
                raise RefusedError(Failure.CORRUPT if frames or not place else Failure.ENCODING)
            place = after
            continue
        length = _mp3_frame(data, place)
        if place + length > len(data):
            raise RefusedError(Failure.TRUNCATED)
        if frames == 0:
            declared = _mp3_declared(data[place : place + length])
        frames += 1
        place += length
    if frames == 0:
        raise RefusedError(Failure.NO_SAMPLES)
    if declared is not None and declared > frames - 1:
        raise RefusedError(Failure.TRUNCATED)


def _mp3_tag(data: bytes, place: int) -> int | None:
    """Where the tag or padding that begins at `place` ends; None where there is none."""
    if data.startswith(b"ID3", place):
        size = 0
        for byte in data[place + 6 : place + 10]:
            size = size << 7 | byte & 0x7F
        return place + 10 + size + (10 if data[place + 5] & 0x10 else 0)
    if data.startswith(_MP3_TAILS, place):
        return len(data)
    rest = data[place:]
    return len(data) - len(rest.lstrip(b"\x00")) if rest[:1] == b"\x00" else None


def _mp3_frame(data: bytes, place: int) -> int:
    """Bytes of the frame whose header stands at `place`."""
    header = int.from_bytes(data[place : place + 4], "big")
    version, halvings = {3: (1, 0), 2: (2, 1), 0: (2, 2)}.get(header >> 19 & 3, (0, 0))  # 1, 2 and 2.5
    kbits, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 0 or header >> 17 & 3 != 1 or kbits in (0, 15) or rate == 3:
        raise RefusedError(Failure.CORRUPT)
    hertz = (44100, 48000, 32000)[rate] >> halvings
    return (144 if version == 1 else 72) * _MP3_KBITS[version][kbits] * 1000 // hertz + (header >> 9 & 1)


def _mp3_declared(frame: bytes) -> int | None:
    """Frames after this one, where it is a Xing or Info header that counts them."""
    for name in (b"Xing", b"Info"):
        place = frame.find(name, 4, 64)
        if place > 0 and len(frame) >= place + 12 and frame[place + 7] & 1:
            return int.from_bytes(frame[place + 8 : place + 12], "big")
    return None


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
    Format.WAV: _wav,
    Format.MP3: _mp3,
    Format.MP4: _mp4,
    Format.WEBM: _webm,
}
