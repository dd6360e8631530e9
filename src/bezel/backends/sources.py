"""The images and sounds of messages, opened: files and addresses are decoded in a child process (`bezel.media`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bezel.errors import InvalidRequestError
from bezel.media.decoding import Sound, decode_audio, decode_image
from bezel.media.fetching import Sources, fetch
from bezel.media.images import Picture, picture_of


def opened_image(source: Any, sources: Sources) -> Picture:
    """A path, web address or data URL as far as `sources` allows, a file's bytes, a PIL image or a uint8 array, as RGB.

    Raises MediaError where it cannot be read or decoded, InvalidRequestError for what is no picture.
    """
    if isinstance(source, str | Path):
        source = fetch(source, sources)
    return decode_image(source) if isinstance(source, bytes) else picture_of(source)


def opened_sound(source: Any, sources: Sources, rate: int) -> Sound:
    """A path, a web address or a data URL as far as `sources` allows, a file's bytes, or samples: float32 at `rate` Hz.

    Raises MediaError where it cannot be read or decoded, InvalidRequestError for other arrays than float32 [samples].
    """
    if isinstance(source, str | Path):
        source = fetch(source, sources)
    if isinstance(source, bytes):
        return decode_audio(source, rate=rate)
    if not isinstance(source, np.ndarray) or source.dtype != np.float32 or source.ndim != 1 or not len(source):
        raise InvalidRequestError(
            f"a sound is a {type(source).__name__}; send a path, the bytes of a file, or float32 [samples] at {rate} Hz"
        )
    return source
