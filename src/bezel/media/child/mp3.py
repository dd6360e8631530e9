"""MP3 as frames: whether they are all there, and where one recording ends and the next begins.

Files are joined end to end by podcasts (advertisements) and by `cat`. libsndfile plays such a file for as long as its
first header says, and no further where the rate changes, so each recording is decoded by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bezel.media.protocol import Failure, RefusedError

_KBITS = {  # layer III, by version
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MOST_RUNS = 1_000
_MOST_LYRICS = 1 << 20  # bytes
_LYRICS = re.compile(rb"LYRICSEND|LYRICS200")
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
class _Run:
    """Frames of one kind, from `first` to `last` in a file. `declared`: how many a first one says that follow it.

    `begins`: where the first that sounds begins; `full`: where those end that are declared.
    """

    first: int
    last: int
    kind: tuple[int, bool]
    declared: int | None
    begins: int
    frames: int = 0
    full: int = 0

    def add(self, end: int) -> None:
        self.frames, self.last = self.frames + 1, end
        if self.declared is not None and self.frames == self.declared + 1:
            self.full = end

    def recordings(self, data: bytes) -> Iterator[bytes]:
        """What it holds, each with a header that counts its frames: else libsndfile guesses when they end.

        A header that counts others keeps to itself: programs that join files leave headers where they are, and count
        anew at the front. Of one frame libsndfile makes nothing.
        """
        sounding = self.frames - (self.begins > self.first)
        after = sounding - (sounding if self.declared is None else self.declared)  # what the header forgot
        if sounding < 2:
            return
        if self.declared == sounding:
            yield data[self.first : self.last]
        elif self.declared is not None and self.declared > 1 and after > 1:
            yield data[self.first : self.full]
            yield _header(data[self.full : self.full + 4], after) + data[self.full : self.last]
        else:
            yield _header(data[self.begins : self.begins + 4], sounding) + data[self.begins : self.last]


def recordings(data: bytes) -> list[bytes]:
    """The recordings of a file, in order; frames follow each other to the end, with nothing between but tags.

    Raises RefusedError where frames are broken, cut off, or fewer than a header says, and for very many recordings.
    """
    runs = _runs(data)
    left = sum(run.frames for run in runs)
    for run in runs:
        if run.declared is not None and run.declared > left - 1:
            raise RefusedError(Failure.TRUNCATED)
        left -= run.frames
    found = [recording for run in runs for recording in run.recordings(data)]
    if not found:
        raise RefusedError(Failure.NO_SAMPLES)
    return [data] if len(runs) == 1 and found[0] == data[runs[0].first : runs[0].last] else found


def _runs(data: bytes) -> list[_Run]:
    """Frames in a row. Others begin behind a tag, at a header, and at another rate or number of channels."""
    runs: list[_Run] = []
    place = behind = 0
    while place < len(data):
        if data[place] != 0xFF or len(data) - place < 4:
            after = _behind_tag(data, place)
            if after is None:
                raise RefusedError(Failure.CORRUPT if runs or not place else Failure.ENCODING)
            place = behind = after
            continue
        frame = _Frame.at(data, place)
        end = place + frame.size
        if end > len(data):
            raise RefusedError(Failure.TRUNCATED)
        header, declared = _counted(data[place:end])
        if header or place == behind or not runs or runs[-1].kind != (frame.rate, frame.mono):
            if len(runs) == _MOST_RUNS:
                raise RefusedError(Failure.SEVERAL_STREAMS)
            runs.append(_Run(place, end, (frame.rate, frame.mono), declared, end if header else place))
        runs[-1].add(end)
        place = end
    return runs


def _behind_tag(data: bytes, place: int) -> int | None:
    """Where the tag or padding that begins at `place` ends; None where there is none."""
    if data.startswith(b"ID3", place):
        size = 0
        for byte in data[place + 6 : place + 10]:
            size = size << 7 | byte & 0x7F
        end = place + 10 + size + (10 if int.from_bytes(data[place + 5 : place + 6], "big") & 0x10 else 0)
        if end > len(data):
            raise RefusedError(Failure.TRUNCATED)
        return end
    if data.startswith(b"TAG", place):
        return place + (227 if data.startswith(b"TAG+", place) else 128)
    if data.startswith(b"APETAGEX", place):
        header = int.from_bytes(data[place + 20 : place + 24], "little") >> 29 & 1
        return place + 32 + (int.from_bytes(data[place + 12 : place + 16], "little") if header else 0)
    if data.startswith(b"LYRICSBEGIN", place):
        mark = _LYRICS.search(data, place, place + _MOST_LYRICS)
        return mark.end() if mark else len(data)
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
