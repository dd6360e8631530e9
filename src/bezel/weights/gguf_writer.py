"""GGUF version 3, written as a stream: metadata and tensor headers first, then rows as they are made.

The file grows under a temporary name in its own folder and takes its final name only when it is whole and
on the disk.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from bezel.errors import InvalidRequestError
from bezel.kernels.interface import U8, Format
from bezel.weights.gguf import ARRAY, MAGIC, SCALARS
from bezel.weights.storage import file_when_whole

ALIGNMENT = 32
# ggml keeps a tensor's name in 64 bytes, the closing zero among them.
_LONGEST_NAME = 63


class Kind(IntEnum):
    """A type of metadata, numbered as in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_KIND_OF_CODE = {code: Kind(kind) for kind, code in SCALARS.items()}


@dataclass(frozen=True)
class Typed:
    """A metadata value, or a list or array of them, with its type said: numbers and lists need one."""

    kind: Kind
    value: Any


Metadata = Mapping[str, "Typed | str | bool"]


def typed(value: Any) -> Typed | str | bool:
    """A metadata value as a reader gives it, with a type: arrays keep theirs, other whole numbers become unsigned.

    Lists of whole numbers without a type are signed, as those of tokenizers are.
    """
    if isinstance(value, str | bool):
        return value
    if isinstance(value, array):
        return Typed(_KIND_OF_CODE[value.typecode], value)
    if isinstance(value, int):
        return Typed(Kind.UINT32 if 0 <= value < 1 << 32 else Kind.INT64, value)
    if isinstance(value, float):
        return Typed(Kind.FLOAT32, value)
    kinds = {str: Kind.STRING, bool: Kind.BOOL, float: Kind.FLOAT32}
    return Typed(kinds.get(type(value[0]), Kind.INT32) if value else Kind.INT32, value)


@dataclass(frozen=True)
class TensorHeader:
    """A tensor to be written: `shape` is outermost first, its last size the length of a row."""

    name: str
    shape: tuple[int, ...]
    format: Format

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        return self.format.row_bytes(self.shape[-1])

    @property
    def nbytes(self) -> int:
        return self.rows * self.row_bytes


def write_gguf(
    path: Path,
    metadata: Metadata,
    tensors: Sequence[TensorHeader],
    rows_of: Callable[[TensorHeader], Iterable[U8]],
) -> int:
    """Write a whole file and return its size; `rows_of` yields each tensor's rows, uint8 [n, row bytes].

    `rows_of` is asked once for each tensor, in order; only the rows in hand are held. An existing file is
    replaced when the new one is whole. Raises StorageError where the folder cannot be written or has no
    room, InvalidRequestError for metadata or headers that the format cannot hold, and ValueError where
    `rows_of` gives other rows than the header promises. Whatever is raised, no partial file stays.
    """
    header = _header(path, metadata, tensors)
    size = len(header) + sum(_padded(tensor.nbytes) for tensor in tensors)
    with file_when_whole(path, size) as write:
        write(header)
        for tensor in tensors:
            left = tensor.rows
            for raw in rows_of(tensor):
                if raw.dtype != np.uint8 or raw.ndim != 2 or raw.shape[1] != tensor.row_bytes or len(raw) > left:
                    raise ValueError(
                        f"{tensor.name}: got rows {raw.shape} of {raw.dtype}; {left} rows of {tensor.row_bytes} "
                        "bytes are left to write"
                    )
                left -= len(raw)
                write(np.ascontiguousarray(raw).reshape(-1).data)
            if left:
                raise ValueError(f"{tensor.name}: {left} rows were not given")
            write(bytes(_padded(tensor.nbytes) - tensor.nbytes))
    return size


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _header(path: Path, metadata: Metadata, tensors: Sequence[TensorHeader]) -> bytearray:
    out = bytearray(MAGIC + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        _add_string(out, key)
        try:
            _add_value(out, value)
        except (struct.error, OverflowError, TypeError, ValueError) as error:
            raise InvalidRequestError(f"{path}: metadata {key} cannot be written: {error}") from None
    offset, seen = 0, set()
    for tensor in tensors:
        if tensor.name in seen or len(tensor.name.encode()) > _LONGEST_NAME or not 1 <= len(tensor.shape) <= 4:
            raise InvalidRequestError(
                f"{path}: tensor {tensor.name!r} of shape {tensor.shape} cannot be written: a name stands once in at "
                f"most {_LONGEST_NAME} bytes, with 1 to 4 sizes"
            )
        seen.add(tensor.name)
        _add_string(out, tensor.name)
        out += struct.pack("<I", len(tensor.shape))
        out += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape[::-1])
        out += struct.pack("<IQ", tensor.format.type_id, offset)
        offset += _padded(tensor.nbytes)
    return out + bytes(_padded(len(out)) - len(out))


def _add_string(out: bytearray, text: str) -> None:
    raw = text.encode("utf-8")
    out += struct.pack("<Q", len(raw)) + raw


def _add_value(out: bytearray, value: Typed | str | bool) -> None:
    if isinstance(value, str):
        value = Typed(Kind.STRING, value)
    elif isinstance(value, bool):
        value = Typed(Kind.BOOL, value)
    elif not isinstance(value, Typed):
        raise TypeError(f"{value!r} needs a type")
    if not isinstance(value.value, list | array):
        out += struct.pack("<I", value.kind)
        _add_items(out, value.kind, [value.value])
    else:
        out += struct.pack("<IIQ", ARRAY, value.kind, len(value.value))
        _add_items(out, value.kind, value.value)


def _add_items(out: bytearray, kind: Kind, items: Sequence[Any]) -> None:
    if kind is Kind.STRING:
        for item in items:
            if not isinstance(item, str):
                raise TypeError(f"{item!r} is not a string")
            _add_string(out, item)
    else:
        # struct, unlike a NumPy cast, refuses what does not fit.
        if kind is Kind.BOOL and not all(isinstance(item, bool) for item in items):
            raise TypeError("a flag is True or False")
        out += struct.pack(f"<{len(items)}{SCALARS[kind]}", *items)
