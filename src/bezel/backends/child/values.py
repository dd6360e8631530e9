"""Values of the backend contract as msgpack. Pickle is never read: the other side may have been broken into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.msgpack import Decoder, Encoder, Ext

from bezel.errors import InvalidRequestError
from bezel.media.images import picture_of

_ARRAY, _PATH, _INTEGER = 1, 2, 3
_MOST = 1 << 64


def _extended(value: Any) -> Any:
    """What msgpack has no form for."""
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return Ext(_ARRAY, msgspec.msgpack.encode((array.dtype.str, value.shape, array.tobytes())))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return Ext(_PATH, str(value).encode())
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "getbands"):
        return picture_of(value)
    raise InvalidRequestError(
        f"a {type(value).__name__} cannot be sent to the engine; send texts, numbers, paths, bytes, arrays, PIL images"
    )


def _restored(code: int, data: memoryview) -> Any:
    if code == _ARRAY:
        kind, shape, raw = msgspec.msgpack.decode(data, type=tuple[str, tuple[int, ...], bytes])
        return np.frombuffer(raw, np.dtype(kind)).reshape(shape)
    if code == _PATH:
        return Path(bytes(data).decode())
    if code == _INTEGER:
        return int(bytes(data), 16)
    raise ValueError(f"no value has the code {code}")


_ENCODER = Encoder(enc_hook=_extended)


def encoded(value: Any) -> bytes:
    """Msgpack of plain values, dataclasses, arrays, paths and images.

    Raises InvalidRequestError for anything else, and for texts with half a character.
    """
    try:
        return _ENCODER.encode(value)
    except OverflowError:
        kept = (bytes, bytearray, Ext)
        return _ENCODER.encode(_shortened(msgspec.to_builtins(value, builtin_types=kept, enc_hook=_extended)))
    except UnicodeEncodeError:
        raise InvalidRequestError("a text holds half a character (a surrogate); send whole ones") from None


def _shortened(value: Any) -> Any:
    """With integers of more than 64 bits, which tools and calls may hold, in a form of their own."""
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(each) for each in value]
    if isinstance(value, int) and not -_MOST // 2 <= value < _MOST:
        return Ext(_INTEGER, f"{value:x}".encode())
    return value


def decoder(kind: Any) -> Decoder[Any]:
    """Reads what `encoded` wrote of a type. Its `decode` raises msgspec.MsgspecError and ValueError."""
    return Decoder(kind, ext_hook=_restored)
