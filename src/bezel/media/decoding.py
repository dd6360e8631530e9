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
from numbers import Real

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
from bezel.media.formats import PICTURES, SOUNDS, VIDEOS, Format, Kind, format_among
from bezel.media.limits import Limits
from bezel.media.process import Child
from bezel.media.protocol import DECODINGS, EVERY, STILL, Answer, Request, Tag

Picture = NDArray[np.uint8]
"""[height, width, 3], RGB."""
Sound = NDArray[np.float32]
"""[samples], mono, in [-1, 1]."""

_BAND = 1 << 18  # pixels that are read at a time
_MOST_CHILDREN = 64
_MOST_SHARED = 8  # decoders with limits of their own


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
    """Children that wait for work: at most `children` (1 to 64) decode at once, further callers wait.

    Safe from any thread, and from any process that is forked. Raises InvalidRequestError for another number.
    """

    def __init__(self, limits: Limits | None = None, children: int = 2) -> None:
        if type(children) is not int or not 1 <= children <= _MOST_CHILDREN:
            raise InvalidRequestError(f"children is {children!r}; ask for 1 to {_MOST_CHILDREN}")
        self.limits = limits or Limits()
        self._children = children
        self._idle: list[Child] = []
        self._begin()
        weakref.finalize(self, _end, self._idle)  # also when the interpreter ends
        with _lock:
            _decoders.add(self)

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

    def video(self, data: bytes, per_second: float = 1.0, rate: int | None = 16_000) -> Video:
        """`per_second` frames of an MP4, MOV or WebM file and its sound at `rate` Hz (bezel[av]). Raises as `image`.

        With `rate` None the sound is left alone, whatever it is.
        """
        format = self._format(data, (Kind.VIDEO,), VIDEOS)
        hertz = 0 if rate is None else _rate(rate)
        results = self._decode(Request(format, hertz, _per_second(per_second), len(data)), data)
        return Video(Frames(tuple(results.pictures), tuple(results.seconds)), results.sound)

    def close(self) -> None:
        """End the children that wait; the decoder can be used again."""
        with self._lock:
            _end(self._idle)

    def _begin(self) -> None:
        """New locks, no children: a forked process lacks the threads that hold those, and did not start these."""
        self._room = threading.Semaphore(self._children)
        self._lock = threading.Lock()
        while self._idle:
            self._idle.pop().forget()

    def _reap(self) -> None:
        """End the children that have waited too long, which else stay on the system's list of processes."""
        with self._lock:
            for child in [child for child in self._idle if not child.waits]:
                self._idle.remove(child)
                child.end()

    def _format(self, data: bytes, kinds: tuple[Kind, ...], accepted: str) -> Format:
        """Refuse by size and first bytes, before any process has seen the file."""
        if not isinstance(data, bytes | bytearray | memoryview) or memoryview(data).nbytes != len(data):
            raise InvalidRequestError(f"a file is given as {type(data).__name__}; send its bytes, which `fetch` reads")
        if len(data) > self.limits.bytes:
            raise MediaTooLargeError(f"the file has {len(data):,} bytes; at most {self.limits.bytes:,} are read")
        format = format_among(data, kinds, accepted)
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
        with _lock:
            decoders = list(_decoders)
        for decoder in decoders:
            decoder._reap()
        with self._lock:
            for child in self._idle:
                if child.kind is kind:
                    self._idle.remove(child)
                    return child
        return None


_lock = threading.RLock()
_decoders: weakref.WeakSet[Decoder] = weakref.WeakSet()
_shared: dict[Limits, Decoder] = {}
"""Used last is last."""


def _forked() -> None:
    global _lock, _decoders
    _lock = threading.RLock()
    _decoders = weakref.WeakSet(_decoders)
    for decoder in _decoders:
        decoder._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


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
    if not isinstance(wanted, Real) or isinstance(wanted, bool) or not 0 < wanted <= 1_000:
        raise InvalidRequestError(f"per_second is {wanted!r}; ask for more than 0 and at most 1,000 frames a second")
    return float(wanted)


def shared_decoder(limits: Limits | None = None) -> Decoder:
    """The decoder of this process for these limits. Where there are many, children of the least recent end."""
    limits = limits or Limits()
    with _lock:
        decoder = _shared.pop(limits, None) or Decoder(limits)
        _shared[limits] = decoder
        least = _shared.pop(next(iter(_shared))) if len(_shared) > _MOST_SHARED else None
    if least is not None:
        least.close()  # one that decodes goes on, and is no more when its caller has what it asked for
    return decoder


def decode_image(data: bytes, limits: Limits | None = None) -> Picture:
    """`Decoder.image` of the shared decoder."""
    return shared_decoder(limits).image(data)


def decode_frames(data: bytes, limits: Limits | None = None, per_second: float | None = None) -> Frames:
    """`Decoder.frames` of the shared decoder."""
    return shared_decoder(limits).frames(data, per_second)


def decode_audio(data: bytes, limits: Limits | None = None, rate: int = 16_000) -> Sound:
    """`Decoder.audio` of the shared decoder."""
    return shared_decoder(limits).audio(data, rate)


def decode_video(
    data: bytes, limits: Limits | None = None, per_second: float = 1.0, rate: int | None = 16_000
) -> Video:
    """`Decoder.video` of the shared decoder."""
    return shared_decoder(limits).video(data, per_second, rate)
