"""MP3 as frames: whether they are all there, and where one recording ends and the next begins.

Files are joined end to end by podcasts (advertisements) and by `cat`. libsndfile plays such a file for as long as its
first header says, and no further where the rate changes, so each recording is decoded by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bezel.media.protocol import Failure, RefusedError

_KBITS = {  # layer III, by version
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_PADDING = re.compile(rb"[\x00\r\n]+")


@dataclass(frozen=True)
class _Frame:
    """Its bytes in all; its rate in Hz and whether it is mono, which all frames of a recording share."""

    size: int
    rate: int
    mono: bool

    @classmethod
    def at(cls, data: bytes, place: int) -> _Frame:
        """The frame whose header stands at `place`. Raises RefusedError for what is none."""
        header = int.from_bytes(data[place : place + 4], "big")
        version, halvings = {3: (1, 0), 2: (2, 1), 0: (2, 2)}.get(header >> 19 & 3, (0, 0))  # 1, 2 and 2.5
        kbits, rate = header >> 12 & 15, header >> 10 & 3
        if header >> 21 != 0x7FF or version == 0 or header >> 17 & 3 != 1 or kbits in (0, 15) or rate == 3:
            raise RefusedError(Failure.CORRUPT)
        hertz = (44100, 48000, 32000)[rate] >> halvings
        size = (144 if version == 1 else 72) * _KBITS[version][kbits] * 1000 // hertz + (header >> 9 & 1)
        return cls(size, hertz, header >> 6 & 3 == 3)


@dataclass
class _Recording:
    """Frames from `first` to `last` in a file. `declared`: those behind a first frame that only counts them."""

    first: int
    last: int
    kind: tuple[int, bool]
    declared: int | None
    frames: int = 0

    def goes_on(self, frame: _Frame, header: bool) -> bool:
        """Whether a frame belongs to it."""
        full = self.declared is not None and self.frames > self.declared
        return not header and not full and self.kind == (frame.rate, frame.mono)

    def ended(self) -> None:
        """Raises RefusedError where frames are missing."""
        if self.declared is not None and self.declared > self.frames - 1:
            raise RefusedError(Failure.TRUNCATED)

    def counted(self, data: bytes) -> bytes:
        """Its frames, with a header that counts them where it has none: else libsndfile guesses when they end."""
        frames = data[self.first : self.last]
        return frames if self.declared is not None else _header(frames[:4], self.frames) + frames


def recordings(data: bytes) -> list[bytes]:
    """The recordings of a file, in order; frames follow each other to the end, with nothing between but tags.

    Raises RefusedError where frames are broken, cut off, or fewer than a header says.
    """
    found: list[_Recording] = []
    place = 0
    while place < len(data):
        if data[place] != 0xFF or len(data) - place < 4:
            after = _behind_tag(data, place)
            if after is None:
                raise RefusedError(Failure.CORRUPT if found or not place else Failure.ENCODING)
            place = after
            continue
        frame = _Frame.at(data, place)
        end = place + frame.size
        if end > len(data):
            raise RefusedError(Failure.TRUNCATED)
        header, declared = _counted(data[place:end])
        if not found or not found[-1].goes_on(frame, header):
            found.append(_Recording(place, end, (frame.rate, frame.mono), declared))
        found[-1].frames += 1
        found[-1].last = place = end
    for recording in found:
        recording.ended()
    # Of one frame libsndfile makes nothing: a header that counts no others, or a frame that a header forgot to count.
    heard = [recording.counted(data) for recording in found if recording.frames > 1]
    if not heard:
        raise RefusedError(Failure.NO_SAMPLES)
    return heard


def _behind_tag(data: bytes, place: int) -> int | None:
    """Where the tag or padding that begins at `place` ends; None where there is none."""
    if data.startswith(b"ID3", place):
        size = 0
        for byte in data[place + 6 : place + 10]:
            size = size << 7 | byte & 0x7F
        return place + 10 + size + (10 if int.from_bytes(data[place + 5 : place + 6], "big") & 0x10 else 0)
    if data.startswith(b"TAG", place):
        return place + (227 if data.startswith(b"TAG+", place) else 128)
    if data.startswith(b"APETAGEX", place):
        header = int.from_bytes(data[place + 20 : place + 24], "little") >> 29 & 1
        return place + 32 + (int.from_bytes(data[place + 12 : place + 16], "little") if header else 0)
    if data.startswith(b"LYRICSBEGIN", place):
        ends = [end + 9 for mark in (b"LYRICSEND", b"LYRICS200") if (end := data.find(mark, place)) >= 0]
        return min(ends, default=len(data))
    padding = _PADDING.match(data, place)
    return padding.end() if padding else None


def _header(first: bytes, count: int) -> bytes:
    """An Info frame for `count` frames, of which the four bytes `first` begin one (the Xing header's layout)."""
    newest, mono = first[1] >> 3 & 3 == 3, first[3] >> 6 == 3
    begin = bytes([first[0], first[1] | 1, 0x90 | first[2] & 0x0C, first[3]])  # 128 or 80 kbit/s, no padding, no sum
    side = (17 if mono else 32) if newest else (9 if mono else 17)
    told = begin + bytes(side) + b"Info" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return told.ljust(_Frame.at(begin, 0).size, b"\x00")


def _counted(frame: bytes) -> tuple[bool, int | None]:
    """Whether a frame is a Xing or Info header, and how many frames it says come behind it, where it counts them."""
    for name in (b"Xing", b"Info"):
        place = frame.find(name, 4, 64)
        if place > 0:
            counts = len(frame) >= place + 12 and frame[place + 7] & 1
            return True, int.from_bytes(frame[place + 8 : place + 12], "big") if counts else None
    return False, None
