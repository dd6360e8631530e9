"""The images and sounds of messages, opened: files and addresses are decoded in a child process (`bezel.media`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bezel.errors import InvalidRequestError, MediaSourceError
from bezel.media.decoding import Sound, decode_audio, decode_image
from bezel.media.fetching import Sources, fetch
from bezel.media.images import Picture, picture_of
from bezel.media.limits import Limits


def opened_image(source: Any, sources: Sources) -> Picture:
    """A path, web address or data URL as far as `sources` allows, a file, a PIL image or a uint8 array, as RGB.

    Raises MediaError where it cannot be read or decoded, InvalidRequestError for what is no picture.
    """
    source = file_bytes(source, sources)
    return decode_image(source) if isinstance(source, bytes) else picture_of(source)


def opened_sound(source: Any, sources: Sources, rate: int, limits: Limits | None = None) -> Sound:
    """A path, a web address or a data URL as far as `sources` allows, a file, or samples: float32 at `rate` Hz.

    Raises MediaError where it cannot be read or decoded, InvalidRequestError for other arrays than float32 [samples].
    """
    source = file_bytes(source, sources, limits)
    if isinstance(source, bytes):
        return decode_audio(source, limits, rate)
    if not isinstance(source, np.ndarray) or source.dtype != np.float32 or source.ndim != 1 or not len(source):
        raise InvalidRequestError(
            f"a sound is a {type(source).__name__}; send a path, the bytes of a file, or float32 [samples] at {rate} Hz"
        )
    return source


def file_bytes(source: Any, sources: Sources, limits: Limits | None = None) -> Any:
    """The bytes of a file that is named, held in memory, or open for reading; anything else as it is.

    Raises MediaError where it cannot be read.
    """
    if isinstance(source, str | Path):
        return fetch(source, sources, limits)
    if hasattr(source, "read"):
        try:
            source = source.read((limits or Limits()).bytes + 1)
        except (OSError, ValueError) as error:
            raise MediaSourceError(f"an open file cannot be read ({type(error).__name__}); send its path") from None
    return bytes(source) if isinstance(source, bytearray | memoryview) else source
