"""GGUF version 3, written as a stream: metadata and tensor headers first, then rows as they are made.

The file grows under a temporary name in its own folder and takes its final name only when it is whole and
on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import shutil
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from bezel.errors import InvalidRequestError, StorageError
from bezel.kernels.interface import U8, Format
from bezel.weights.gguf import ARRAY, MAGIC, SCALARS

ALIGNMENT = 32
# ggml keeps a tensor's name in 64 bytes, the closing zero among them.
_LONGEST_NAME = 63
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


@dataclass(frozen=True)
class Typed:
    """A metadata value, or a list or array of them, with its type said: numbers and lists need one."""

    kind: Kind
    value: Any


Metadata = Mapping[str, "Typed | str | bool"]


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
    with _replaced_when_whole(path, size) as write:
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


@contextlib.contextmanager
def _replaced_when_whole(path: Path, size: int) -> Iterator[Callable[[bytes | bytearray | memoryview], None]]:
    """A function that appends to a temporary file, which becomes `path` at the end, or vanishes."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with _storage_errors(path, size):
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise OSError(errno.ENOSPC, f"{free} bytes are free")
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has this name")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)

    def write(data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        with _storage_errors(path, size):
            while view:
                view = view[os.write(handle, view) :]

    try:
        try:
            yield write
            with _storage_errors(path, size):
                os.fsync(handle)
        finally:
            os.close(handle)
        with _storage_errors(path, size):
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system lets a folder be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _storage_errors(path: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            way_out = f"free space in {path.parent}, or choose another folder"
        elif error.errno in (errno.ENOENT, errno.ENOTDIR):
            way_out = f"create the folder {path.parent} first"
        else:
            way_out = "choose a folder that you can write"
        raise StorageError(f"{path}: {size} bytes cannot be written ({reason}); {way_out}") from error
