"""Blocks of sound become mono at the wanted rate, and are bounded while they arrive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from bezel.media.limits import Limits
from bezel.media.protocol import Answer, Failure, RefusedError, Tag

Floats = NDArray[np.float32]
_ROUNDING = 1e-6  # seconds, of many sums
_SILENCE = 1 << 16  # samples that are added at a time
_LOUDEST = 100.0  # full scale is 1; floats far over it are no sound


class Output:
    """One sound of a file: SOUND answers at `rate`, of at most as many seconds as the limits allow."""

    def __init__(self, rate: int, limits: Limits, send: Callable[[bytes], None]) -> None:
        self.rate = rate
        self.seconds_left = limits.audio_seconds
        """Of what the file holds."""
        self._send = send
        self._any = False

    def take(self, seconds: float) -> None:
        """So much more of the file was read. Raises RefusedError where it is too much."""
        self.seconds_left -= seconds
        if self.seconds_left < -_ROUNDING:
            raise RefusedError(Failure.AUDIO_SECONDS)

    def put(self, mono: Floats) -> None:
        """Samples [frames] at `rate`."""
        if len(mono):
            self._any = True
            raw = mono.astype("<f4", copy=False).tobytes()
            self._send(Answer(Tag.SOUND, size=len(raw)).pack())
            self._send(raw)

    def end(self) -> None:
        """Raises RefusedError where nothing came."""
        if not self._any:
            raise RefusedError(Failure.NO_SAMPLES)


class Resampler:
    """Blocks at `rate` go in and out at the output's: the mean of channels, by soxr at high quality, as in librosa."""

    def __init__(self, rate: int, output: Output) -> None:
        wanted = output.rate
        self._stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ") if rate != wanted else None
        self._rate, self._output = rate, output

    def add(self, block: Floats) -> None:
        """Samples [frames, channels]. Raises RefusedError where there are too many, or where they are no numbers."""
        self._output.take(len(block) / self._rate)
        mono = block.mean(axis=1, dtype=np.float32)
        if not np.all(np.abs(mono) <= _LOUDEST):  # also false for NaN
            raise RefusedError(Failure.BAD_SAMPLES)
        self._put(mono, last=False)

    def silence(self, seconds: float) -> None:
        """Nothing, for so long. Raises RefusedError as `add` does."""
        left = round(seconds * self._rate)
        while left > 0:
            self.add(np.zeros((min(left, _SILENCE), 1), np.float32))
            left -= _SILENCE

    def end(self) -> None:
        """Send what the filter still holds."""
        self._put(np.zeros(0, np.float32), last=True)

    def _put(self, mono: Floats, last: bool) -> None:
        self._output.put(self._stream.resample_chunk(mono, last=last) if self._stream else mono)


def check_sound(rate: int, channels: int, limits: Limits) -> None:
    """What a header says, before anything is allocated for it. Raises RefusedError."""
    if not limits.lowest_rate <= rate <= limits.highest_rate:
        raise RefusedError(Failure.RATE, max(rate, 0))
    if not 1 <= channels <= limits.channels:
        raise RefusedError(Failure.CHANNELS, max(channels, 0))
