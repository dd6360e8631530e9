"""Pictures, sounds and videos of strangers as arrays. They are decoded in child processes with limits."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from bezel.errors import (
    CorruptMediaError,
    InvalidRequestError,
    MediaError,
    MediaTooLargeError,
    UnsupportedMediaError,
)
from bezel.media.failures import refusal
from bezel.media.formats import PICTURES, SOUNDS, VIDEOS, Format, Kind, format_of
from bezel.media.limits import Limits
from bezel.media.process import Child
from bezel.media.protocol import DECODINGS, EVERY, STILL, Answer, Request, Tag

Picture = NDArray[np.uint8]
"""[height, width, 3], RGB."""
Sound = NDArray[np.float32]
"""[samples], mono, in [-1, 1]."""

_BAND = 1 << 18  # pixels that are read at a time


@dataclass(frozen=True)
class Frames:
    """Pictures of an animation or video, and when each is shown in seconds."""

    pictures: tuple[Picture, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Video:
    frames: Frames
    sound: Sound | None
    """None where the file has none."""


class Decoder:
    """Children that wait for work: at most `children` decode at once, further callers wait. Safe from any thread."""

    def __init__(self, limits: Limits | None = None, children: int = 2) -> None:
        self.limits = limits or Limits()
        self._room = threading.Semaphore(children)
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._owner = os.getpid()
        weakref.finalize(self, _end, self._idle)  # also when the interpreter ends

    def image(self, data: bytes) -> Picture:
        """The only picture of a PNG, JPEG, WebP, GIF or BMP file, upright, what is transparent over white.

        Raises MediaTooLargeError, UnsupportedMediaError, CorruptMediaError or MediaTimeoutError.
        """
        format = self._format(data, (Kind.PICTURE,), PICTURES)
        pictures = self._decode(Request(format, 0, STILL, len(data)), data).pictures
        if not pictures:
            raise _nonsense()
        return pictures[0]

    def frames(self, data: bytes, per_second: float | None = None) -> Frames:
        """All frames of an animated picture, or `per_second` of them; of a still picture the one. Raises as `image`."""
        format = self._format(data, (Kind.PICTURE,), PICTURES)
        wanted = EVERY if per_second is None else _per_second(per_second)
        results = self._decode(Request(format, 0, wanted, len(data)), data)
        return Frames(tuple(results.pictures), tuple(results.seconds))

    def audio(self, data: bytes, rate: int = 16_000) -> Sound:
        """The whole sound of a WAV, FLAC, OGG or MP3 file (with bezel[av] also M4A, MP4, WebM) at `rate` Hz.

        Channels are averaged. Longer sounds than the limits allow are refused and never cut. Raises as `image`.
        """
        format = self._format(data, (Kind.SOUND, Kind.VIDEO), SOUNDS)
        sound = self._decode(Request(format, _rate(rate), STILL, len(data)), data).sound
        if sound is None:
            raise _nonsense()
        return sound

    def video(self, data: bytes, per_second: float = 1.0, rate: int = 16_000) -> Video:
        """`per_second` frames of an MP4, MOV or WebM file and its sound at `rate` Hz (bezel[av]). Raises as `image`."""
        format = self._format(data, (Kind.VIDEO,), VIDEOS)
        results = self._decode(Request(format, _rate(rate), _per_second(per_second), len(data)), data)
        return Video(Frames(tuple(results.pictures), tuple(results.seconds)), results.sound)

    def close(self) -> None:
        """End the children that wait; the decoder can be used again."""
        with self._lock:
            _end(self._idle)

    def _format(self, data: bytes, kinds: tuple[Kind, ...], accepted: str) -> Format:
        """Refuse by size and first bytes, before any process has seen the file."""
        if len(data) > self.limits.bytes:
            raise MediaTooLargeError(f"the file has {len(data):,} bytes; at most {self.limits.bytes:,} are read")
        format = format_of(data)
        if format.kind not in kinds:
            raise UnsupportedMediaError(f"this is a {format.name} file; send {accepted} here")
        if format.kind is Kind.VIDEO and find_spec("av") is None:
            raise UnsupportedMediaError(f"{format.name} files need the av library; run: pip install 'bezel[av]'")
        return format

    def _decode(self, request: Request, data: bytes) -> _Results:
        results = _Results(request, self.limits)
        format = Format(request.format)
        with self._child(format.kind) as child:
            for answer in child.answers(request, data):
                results.take(child, answer)
        if results.failure is not None:
            raise refusal(results.failure, format, self.limits)
        return results

    @contextmanager
    def _child(self, kind: Kind) -> Iterator[Child]:
        """An idle child or a new one. It goes back to wait, unless an error left its conversation unfinished."""
        with self._room:
            child = self._take(kind) or Child(kind, self.limits)
            try:
                yield child
            except BaseException:
                child.end()
                raise
            if child.decodings >= DECODINGS:
                child.end()
                return
            with self._lock:
                self._idle.append(child)

    def _take(self, kind: Kind) -> Child | None:
        with self._lock:
            if self._owner != os.getpid():  # after a fork: these are the parent's
                self._owner = os.getpid()
                self._idle.clear()
            for child in [child for child in self._idle if child.kind is kind]:
                self._idle.remove(child)
                if child.waits:
                    return child
                child.end()
        return None


def _end(children: list[Child]) -> None:
    while children:
        children.pop().end()


class _Results:
    """Answers as they come; each is held to the limits again, since a child may have been taken over."""

    def __init__(self, request: Request, limits: Limits) -> None:
        self.pictures: list[Picture] = []
        self.seconds: list[float] = []
        self.failure: Answer | None = None
        self._sound = bytearray()
        self._rate = request.rate
        self._pixels = limits.pixels
        self._frames = 1 if request.pictures == STILL else limits.frames
        self._sound_bytes = 4 * math.ceil((limits.audio_seconds + 1) * request.rate)

    def take(self, child: Child, answer: Answer) -> None:
        if answer.tag == Tag.PICTURE:
            self._take_picture(child, answer)
        elif answer.tag == Tag.SOUND:
            self._take_sound(child, answer)
        elif answer.tag == Tag.FAILURE:
            self.failure = answer
        elif answer.tag != Tag.END:
            raise _nonsense()

    def _take_picture(self, child: Child, answer: Answer) -> None:
        height, width = answer.first, answer.second
        self._pixels -= height * width
        self._frames -= 1
        whole = answer.size == height * width * 3 > 0 and 1 <= answer.code <= 8 and math.isfinite(answer.seconds)
        if not whole or self._pixels < 0 or self._frames < 0:
            raise _nonsense()
        picture = np.empty((height, width, 3) if answer.code < 5 else (width, height, 3), np.uint8)
        lying = _as_stored(picture, answer.code)
        rows = max(1, _BAND // width)
        band = np.empty((min(rows, height), width, 3), np.uint8)
        for top in range(0, height, rows):
            part = band[: min(rows, height - top)]
            child.read_into(memoryview(part.data).cast("B"))
            lying[top : top + rows] = part
        self.pictures.append(picture)
        self.seconds.append(answer.seconds)

    def _take_sound(self, child: Child, answer: Answer) -> None:
        if answer.size % 4 or len(self._sound) + answer.size > self._sound_bytes:
            raise _nonsense()
        part = bytearray(answer.size)
        child.read_into(memoryview(part))
        self._sound += part

    @property
    def sound(self) -> Sound | None:
        return np.frombuffer(self._sound, "<f4").astype(np.float32, copy=False) if self._sound else None


def _as_stored(picture: Picture, orientation: int) -> Picture:
    """A view of an upright picture whose rows are those of the file (EXIF orientation 1 to 8)."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    return picture[:: -1 if orientation in (3, 4, 6, 7) else 1, :: -1 if orientation in (2, 3, 7, 8) else 1]


def _nonsense() -> MediaError:
    return CorruptMediaError("the decoder answered nonsense, so the file is not used")


def _rate(rate: int) -> int:
    if not isinstance(rate, int) or not 1_000 <= rate <= 192_000:
        raise InvalidRequestError(f"rate is {rate!r}; ask for 1,000 to 192,000 samples a second")
    return rate


def _per_second(wanted: float) -> float:
    if not 0 < wanted <= 1_000:
        raise InvalidRequestError(f"per_second is {wanted!r}; ask for more than 0 and at most 1,000 frames a second")
    return wanted


_shared: dict[Limits, Decoder] = {}
_shared_lock = threading.Lock()


def shared_decoder(limits: Limits | None = None) -> Decoder:
    """The decoder of this process for these limits."""
    with _shared_lock:
        limits = limits or Limits()
        if limits not in _shared:
            _shared[limits] = Decoder(limits)
        return _shared[limits]


def decode_image(data: bytes, limits: Limits | None = None) -> Picture:
    """`Decoder.image` of the shared decoder."""
    return shared_decoder(limits).image(data)


def decode_frames(data: bytes, limits: Limits | None = None, per_second: float | None = None) -> Frames:
    """`Decoder.frames` of the shared decoder."""
    return shared_decoder(limits).frames(data, per_second)


def decode_audio(data: bytes, limits: Limits | None = None, rate: int = 16_000) -> Sound:
    """`Decoder.audio` of the shared decoder."""
    return shared_decoder(limits).audio(data, rate)


def decode_video(data: bytes, limits: Limits | None = None, per_second: float = 1.0, rate: int = 16_000) -> Video:
    """`Decoder.video` of the shared decoder."""
    return shared_decoder(limits).video(data, per_second, rate)
