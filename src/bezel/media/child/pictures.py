"""Pillow decodes pictures and animations, row by row into RGB."""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Callable, Iterator
from typing import Any

# TiffImagePlugin reads EXIF. Everything is imported here, because a confined child can open no file.
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from bezel.media.child.headers import Header, read_header
from bezel.media.formats import Format
from bezel.media.limits import Limits
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
_ORIENTATION = 0x0112
_BAND = 1 << 18  # pixels that are converted at a time
_HIGH_BYTES = [value >> 8 for value in range(1 << 16)]
_ = TiffImagePlugin


def decode(request: Request, data: bytes, limits: Limits, send: Send) -> None:
    """One PICTURE for each frame wanted. Raises RefusedError."""
    format = Format(request.format)
    header = read_header(format, data, limits.frames)
    _check(header, request, limits)
    Image.MAX_IMAGE_PIXELS = limits.pixels  # a second line: frames are measured again where they are allocated
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    pixels = 0
    try:
        with _READERS[format](io.BytesIO(data)) as image:
            if image.size != (header.width, header.height) and format is not Format.GIF:
                raise RefusedError(Failure.CORRUPT)
            for frame, seconds in _frames(image, header.frames, request.pictures):
                pixels += frame.width * frame.height
                if pixels > limits.pixels:
                    raise RefusedError(Failure.FRAMES, header.frames, frame.width * frame.height)
                _send_frame(frame, format, seconds, send)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RefusedError(Failure.PIXELS, header.width, header.height) from None
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, struct.error):
        raise RefusedError(Failure.CORRUPT) from None


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


def _frames(image: Any, count: int, per_second: float) -> Iterator[tuple[Any, float]]:
    """Frames with the seconds at which they are shown: all, or those shown at multiples of 1 / per_second."""
    first = 1 if getattr(image, "default_image", False) else 0  # PNG: shown where animations are not understood
    began = 0.0
    due = 0
    for number in range(first, first + count):
        if count > 1:
            image.seek(number)
        image.load()
        ends = began + float(image.info.get("duration", 0) or 0) / 1000
        if per_second <= 0 or count == 1:
            yield image, began
        elif due / per_second < ends or number == first:
            yield image, began
            due = max(due + 1, math.ceil(ends * per_second))
        began = ends


def _send_frame(image: Any, format: Format, seconds: float, send: Send) -> None:
    width, height = image.size
    orientation = _orientation(image) if format in (Format.JPEG, Format.PNG, Format.WEBP) else 1
    send(Answer(Tag.PICTURE, orientation, height, width, width * height * 3, seconds).pack())
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        send(_rgb(image.crop((0, top, width, min(top + rows, height)))))


def _orientation(image: Any) -> int:
    """1 to 8 as in EXIF; 1 where EXIF is broken, since the picture is whole without it."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _rgb(band: Any) -> bytes:
    """Rows of RGB: the high byte of 16 bits, what is transparent over white. ICC profiles are not applied."""
    transparency = band.info.get("transparency")
    if band.mode.startswith("I"):
        band = _narrowed(band.convert("I"), transparency)
    elif transparency is not None and band.mode in ("1", "L", "RGB", "P"):
        if isinstance(transparency, tuple) and max(transparency) > 255:
            band.info["transparency"] = tuple(value >> 8 for value in transparency)
        band = band.convert("RGBA")
    if band.mode in ("LA", "PA", "La", "RGBa"):
        band = band.convert("RGBA")
    if band.mode == "RGBA":
        band = Image.alpha_composite(Image.new("RGBA", band.size, (255, 255, 255, 255)), band)
    if band.mode != "RGB":
        band = band.convert("RGB")
    rows: bytes = band.tobytes()
    return rows


def _narrowed(band: Any, transparency: Any) -> Any:
    """16-bit grey as 8 bits, with what is transparent; Pillow's own conversion clips at 255."""
    grey = band.point(_HIGH_BYTES, "L")
    if not isinstance(transparency, int):
        return grey
    seen = [255] * (1 << 16)
    seen[transparency & 0xFFFF] = 0
    return Image.merge("LA", (grey, band.point(seen, "L")))
