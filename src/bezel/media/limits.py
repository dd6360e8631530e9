"""How much of a picture, sound or video is read at most; what is over a limit is refused, never cut."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from bezel.errors import InvalidRequestError

_LARGEST = {
    "bytes": 1 << 32,
    "pixels": 1 << 30,
    "frames": 1 << 20,
    "audio_seconds": 1e5,
    "channels": 64,
    "lowest_rate": 768_000,
    "highest_rate": 768_000,
    "seconds": 3600.0,
    "memory": 1 << 40,
}


@dataclass(frozen=True)
class Limits:
    """Raises InvalidRequestError for what is no positive number, whole but for seconds, or beyond what can be meant."""

    bytes: int = 64 << 20
    """Of the file."""
    pixels: int = 50_000_000
    """Width times height of a picture; all frames that are returned of an animation or video, together."""
    frames: int = 1_000
    """Of an animation, whether they are returned or not; of a video, those that are returned."""
    audio_seconds: float = 3600.0
    """Length of a sound or video."""
    channels: int = 8
    lowest_rate: int = 4_000
    """Samples a second of a sound, at least."""
    highest_rate: int = 192_000
    seconds: float = 30.0
    """Wall-clock and processor time of one decoding."""
    memory: int = 1 << 30
    """Bytes of address space that decoding may take beyond the libraries."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), _LARGEST[field.name]
            kind, due = (int, "a whole number ") if field.type == "int" else (int | float, "")
            number = isinstance(value, kind) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or not 0 < value <= most:
                raise InvalidRequestError(
                    f"limit {field.name} is {value!r}; it must be {due}over 0 and at most {most:,}"
                )
        if self.lowest_rate > self.highest_rate:
            raise InvalidRequestError(
                f"limits: lowest_rate {self.lowest_rate} is over highest_rate {self.highest_rate}"
            )
