"""The images of messages, opened: those of files and addresses are decoded in a child process (`bezel.media`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bezel.media.decoding import decode_image
from bezel.media.fetching import Sources, fetch
from bezel.media.images import Picture, picture_of


def opened(source: Any, sources: Sources) -> Picture:
    """A path, web address or data URL as far as `sources` allows, a file's bytes, a PIL image or a uint8 array: RGB.

    Raises MediaError where it cannot be read or decoded, InvalidRequestError for what is no picture.
    """
    if isinstance(source, str | Path):
        source = fetch(source, sources)
    return decode_image(source) if isinstance(source, bytes) else picture_of(source)
