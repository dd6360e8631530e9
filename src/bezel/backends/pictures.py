"""The images of messages, opened: files, data URLs, bytes, and pictures that are in memory already."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

from bezel.errors import InvalidRequestError
from bezel.media.images import Picture, picture_of

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MOST_BYTES, MOST_PIXELS = 64 << 20, 64 << 20


def opened(source: Any) -> Picture:
    """A path, a data URL, the bytes of a file, a PIL image or a uint8 array, as RGB.

    InvalidRequestError where it cannot be read, is no picture or is too large, and for addresses: nothing is fetched.
    """
    if isinstance(source, str) and source.startswith("data:"):
        source = _of_data_url(source)
    elif isinstance(source, str) and source.startswith(("http://", "https://")):
        raise InvalidRequestError("images are not fetched from addresses; download it and send a path or a data URL")
    elif isinstance(source, str | Path):
        source = _read(Path(source).expanduser())
    return _decoded(source) if isinstance(source, bytes) else picture_of(source)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InvalidRequestError(f"{path}: larger than {MOST_BYTES >> 20} MiB; send a smaller image")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidRequestError):
            raise
        raise InvalidRequestError(f"{path}: cannot be read ({error})") from None


def _of_data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InvalidRequestError("the data URL of an image must look like data:image/png;base64,...")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise InvalidRequestError(f"the data URL of an image is not base64 ({error})") from None


def _decoded(data: bytes) -> Picture:
    from PIL import Image, UnidentifiedImageError

    if len(data) > MOST_BYTES:
        raise InvalidRequestError(f"an image has {len(data)} bytes; {MOST_BYTES} are taken at most")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InvalidRequestError(
                    f"an image has {image.width} x {image.height} pixels; {MOST_PIXELS} are taken at most"
                )
            return picture_of(image)
    except InvalidRequestError:
        raise
    except UnidentifiedImageError:
        raise InvalidRequestError(f"an image is none of {', '.join(FORMATS)}; convert it to one of them") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InvalidRequestError(f"an image cannot be decoded ({error}); save it again") from None
