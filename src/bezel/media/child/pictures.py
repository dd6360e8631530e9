"""Pillow decodes pictures and animations, row by row into RGB."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

# TiffImagePlugin reads EXIF. Everything is imported here, because a confined child can open no file.
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from bezel.media.child.headers import Header, read_header
from bezel.media.child.rows import check_rows
from bezel.media.formats import Format
from bezel.media.limits import Limits
from bezel.media.modes import rgb
from bezel.media.protocol import EVERY, STILL, Answer, Failure, RefusedError, Request, Tag

Send = Callable[[bytes], None]

# Plugins are called by name: Image.open would try all of them, and takes the second picture of a phone's JPEG for more.
_READERS: dict[Format, Any] = {
    Format.PNG: PngImagePlugin.PngImageFile,
    Format.JPEG: JpegImagePlugin.JpegImageFile,
    Format.WEBP: WebPImagePlugin.WebPImageFile,
    Format.GIF: GifImagePlugin.GifImageFile,
    Format.BMP: BmpImagePlugin.BmpImageFile,
}
_BROKEN = (OSError, SyntaxError, ValueError, LookupError, TypeError, OverflowError, EOFError, struct.error, zlib.error)
_ORIENTATION = 0x0112
_BAND = 1 << 18  # pixels that are converted at a time
_ROUNDING = 1e-6  # of the time between two frames that are wanted
_NEEDED = {Format.WEBP: 16, Format.JPEG: 10}  # bytes a pixel at most, for libraries that do not tell what they lack
# Behind a scan, in place of its end: bits that begin no code. At a mark, libjpeg fills what is missing with grey.
_NO_PIXELS = b"\xff\x00" * 8
_ = TiffImagePlugin


def decode(request: Request, data: bytes, limits: Limits, send: Send) -> None:
    """One PICTURE for each frame wanted. Raises RefusedError."""
    format = Format(request.format)
    header = read_header(format, data, limits.frames)
    _check(header, request, limits)
    Image.MAX_IMAGE_PIXELS = limits.pixels  # a second line: frames are measured again where they are allocated
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    if header.end is not None:
        data = data[: header.end] + _NO_PIXELS
    try:
        with _READERS[format](io.BytesIO(data)) as image:
            if image.size != (header.width, header.height) and format is not Format.GIF:
                raise RefusedError(Failure.CORRUPT)
            _send_frames(image, data, header, request, limits, send)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RefusedError(Failure.PIXELS, header.width, header.height) from None
    except _BROKEN as error:
        bytes(_NEEDED.get(format, 0) * header.width * header.height)  # MemoryError, where that was the matter
        raise RefusedError(Failure.TRUNCATED if "truncated" in str(error) else Failure.CORRUPT) from None


def _check(header: Header, request: Request, limits: Limits) -> None:
    size = header.width * header.height
    if size > limits.pixels:
        raise RefusedError(Failure.PIXELS, header.width, header.height)
    if header.frames > limits.frames:
        raise RefusedError(Failure.FRAMES, header.frames, size)
    if request.pictures == STILL and header.frames > 1:
        raise RefusedError(Failure.ANIMATED, header.frames)
    if request.pictures == EVERY and size * header.frames > limits.pixels:
        raise RefusedError(Failure.FRAMES, header.frames, size)


def _send_frames(image: Any, data: bytes, header: Header, request: Request, limits: Limits, send: Send) -> None:
    format = Format(request.format)
    pixels = 0
    for frame, seconds in _frames(image, header.frames, request.pictures):
        if format is Format.PNG and not pixels:
            check_rows(frame, data)
        pixels += frame.width * frame.height
        if pixels > limits.pixels:
            raise RefusedError(Failure.FRAMES, header.frames, frame.width * frame.height)
        transparent = frame.info.get("transparency")
        if format is Format.PNG:
            transparent = _eight_bits(transparent, frame.mode, depth=data[24])
        _send_frame(frame, format, seconds, transparent, send)


def _frames(image: Any, count: int, per_second: float) -> Iterator[tuple[Any, float]]:
    """Frames with the seconds at which they are shown: all, or those shown at multiples of 1 / per_second.

    Files count in milliseconds, whose sums are exact.
    """
    other = getattr(image, "default_image", False)  # PNG: shown where animations are not understood
    first = 1 if other and per_second != STILL else 0
    began = 0.0
    due = 0
    for number in range(first, first + count):
        if number:
            image.seek(number)
        image.load()
        ends = began + float(image.info.get("duration", 0) or 0)
        past = math.ceil(ends * per_second / 1000 - _ROUNDING)  # multiples before its end
        if per_second <= 0 or count == 1:
            yield image, began / 1000
        elif due < past or number == first:
            yield image, began / 1000
            due = max(due + 1, past)
        began = ends


def _eight_bits(transparent: Any, mode: str, depth: int) -> Any:
    """What a PNG says is transparent, on the scale of the pixels as Pillow has them."""
    if isinstance(transparent, tuple) and depth == 16:
        return tuple(value >> 8 for value in transparent)
    if isinstance(transparent, int) and mode == "L" and depth in (2, 4):
        return transparent * (255 // ((1 << depth) - 1))
    return transparent


def _send_frame(image: Any, format: Format, seconds: float, transparent: Any, send: Send) -> None:
    width, height = image.size
    orientation = _orientation(image) if format in (Format.JPEG, Format.PNG, Format.WEBP) else 1
    send(Answer(Tag.PICTURE, orientation, height, width, width * height * 3, seconds).pack())
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        send(rgb(image.crop((0, top, width, min(top + rows, height))), transparent).tobytes())


def _orientation(image: Any) -> int:
    """1 to 8 as in EXIF; 1 where EXIF is broken, since the picture is whole without it."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1
