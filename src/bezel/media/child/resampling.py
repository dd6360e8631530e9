"""Blocks of sound become mono at the wanted rate, and are bounded while they arrive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from bezel.media.limits import Limits
from bezel.media.protocol import Answer, Failure, RefusedError, Tag

Floats = NDArray[np.float32]
_LOUDEST = 100.0  # full scale is 1; floats far over it are no sound


class Resampler:
    """Blocks go in, SOUND answers go out. The mean of channels, by soxr at high quality, as librosa does."""

    def __init__(self, rate: int, wanted: int, limits: Limits, send: Callable[[bytes], None]) -> None:
        self._stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ") if rate != wanted else None
        self._left = int(limits.audio_seconds * rate)
        self._send = send
        self._any = False

    def add(self, block: Floats) -> None:
        """Samples [frames, channels]. Raises RefusedError where there are too many, or where they are no numbers."""
        self._left -= len(block)
        if self._left < 0:
            raise RefusedError(Failure.AUDIO_SECONDS)
        mono = block.mean(axis=1, dtype=np.float32)
        if not np.all(np.abs(mono) <= _LOUDEST):  # also false for NaN
            raise RefusedError(Failure.BAD_SAMPLES)
        self._any |= len(mono) > 0
        self._put(mono, last=False)

    def end(self) -> None:
        """Send what the filter still holds. Raises RefusedError where nothing came."""
        if not self._any:
            raise RefusedError(Failure.NO_SAMPLES)
        self._put(np.zeros(0, np.float32), last=True)

    def _put(self, mono: Floats, last: bool) -> None:
        out = self._stream.resample_chunk(mono, last=last) if self._stream else mono
        if len(out):
            raw = out.astype("<f4", copy=False).tobytes()
            self._send(Answer(Tag.SOUND, size=len(raw)).pack())
            self._send(raw)


def check_sound(rate: int, channels: int, limits: Limits) -> None:
    """What a header says, before anything is allocated for it. Raises RefusedError."""
    if not limits.lowest_rate <= rate <= limits.highest_rate:
        raise RefusedError(Failure.RATE, max(rate, 0))
    if not 1 <= channels <= limits.channels:
        raise RefusedError(Failure.CHANNELS, max(channels, 0))
