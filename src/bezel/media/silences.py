"""Long sounds as pieces that a model can hear at once, cut where nobody speaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bezel.errors import InvalidRequestError

Samples = NDArray[np.float32]
_FRAME = 0.01  # seconds over which loudness is measured
_PAUSE = 0.2  # seconds that are quiet around a cut
_QUIET = 0.1  # of the loudness of speech (20 dB below it): nobody speaks


@dataclass(frozen=True)
class Piece:
    """Samples `first` to `last` of a sound. `repeats`: seconds at its beginning that the piece before has too."""

    first: int
    last: int
    repeats: float


def pieces_of(samples: Samples, rate: int, longest: float = 30.0, overlap: float = 2.0) -> list[Piece]:
    """Pieces of at most `longest` seconds that cover all `samples` [n] at `rate` Hz, in order.

    A cut is made in the middle of the quietest pause of the last half of what a piece may hold. Where nobody pauses,
    the next piece begins `overlap` seconds before the cut, so that a word in two halves is whole once. Raises
    InvalidRequestError where `overlap` is no less than half of `longest`.
    """
    if not 0 <= 2 * overlap < longest:
        raise InvalidRequestError(f"overlap is {overlap} s; it must be less than half of the {longest} s of a piece")
    most, half = round(longest * rate), round(longest * rate / 2)
    found: list[Piece] = []
    first, repeats = 0, 0.0
    loudness = _loudness(samples, rate)
    speech = float(np.percentile(loudness, 90)) if len(loudness) else 0.0
    while len(samples) - first > most:
        cut, quiet = _quietest(loudness, speech, first + half, first + most, rate)
        found.append(Piece(first, cut, repeats))
        repeats = 0.0 if quiet else overlap
        first = cut - round(repeats * rate)
    found.append(Piece(first, len(samples), repeats))
    return found


def _loudness(samples: Samples, rate: int) -> NDArray[np.float64]:
    """Root mean square of each frame, the last of which may be shorter."""
    size = max(1, round(_FRAME * rate))
    starts = np.arange(0, len(samples), size)
    if not len(starts):
        return np.zeros(0)
    frames = len(samples) // size  # and part of one; squares of hours are not held all at once
    whole = samples[: frames * size].reshape(frames, size)
    sums = np.zeros(len(starts))
    sums[:frames] = np.einsum("ij,ij->i", whole, whole, dtype=np.float64)
    sums[frames:] = np.square(samples[frames * size :], dtype=np.float64).sum()
    return np.sqrt(sums / np.diff(np.append(starts, len(samples))))


def _quietest(loudness: NDArray[np.float64], speech: float, first: int, last: int, rate: int) -> tuple[int, bool]:
    """The sample in the middle of the quietest _PAUSE seconds between two samples; and whether nobody speaks there."""
    size, width = max(1, round(_FRAME * rate)), round(_PAUSE / _FRAME)
    window = loudness[first // size : last // size]
    stretches = np.lib.stride_tricks.sliding_window_view(window, min(width, len(window))).max(axis=1)
    best = stretches.min()
    # Of equal stretches (digital silence) the middle one: the others may touch a word.
    equal = np.flatnonzero(stretches <= best)
    place = int(equal[len(equal) // 2])
    middle = (first // size + place) * size + min(width, len(window)) * size // 2
    return min(max(middle, first), last), bool(best <= _QUIET * speech)
