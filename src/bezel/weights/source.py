"""Where tensors lie: their names, formats and places in files, read row by row and never mapped whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.kernels.interface import U8, Format
from bezel.kernels.tables import RowTable

Opener = Callable[[Path], tuple[BinaryIO, int]]


def open_local(path: Path) -> tuple[BinaryIO, int]:
    """A file to read a header from, and its length in bytes. ModelFileError where it is missing."""
    try:
        file = path.open("rb", buffering=1 << 18)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: this file of the checkpoint is missing; download it again") from None
    return file, os.fstat(file.fileno()).st_size


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: `shape` is outermost first; `format` None marks a type that cannot be read here.

    `first_row` is not 0 where this is one of several matrices stacked in the tensor of that name.
    """

    name: str
    format: Format | None
    type_name: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    nbytes: int
    first_row: int = 0

    def part(self, number: int) -> TensorInfo:
        """One of the matrices that a tensor of three sizes stacks. ModelFileError where it has fewer."""
        count, *shape = self.shape
        if number >= count:
            raise ModelFileError(f"{self.path}: tensor {self.name} stacks {count} matrices; one more is needed")
        return replace(self, shape=tuple(shape), nbytes=self.nbytes // count, first_row=number * shape[0])

    @property
    def columns(self) -> int:
        return self.shape[-1] if self.shape else 1

    def readable(self) -> Format:
        """The format, or UnsupportedModelError naming file, tensor and type."""
        if self.format is None:
            known = ", ".join(format.name for format in Format)
            raise UnsupportedModelError(
                f"{self.path}: tensor {self.name} is stored as {self.type_name}; readable are {known}"
            )
        return self.format


def ends_inside(info: TensorInfo) -> ModelFileError:
    """The error for a file that has shrunk since its header was read."""
    return ModelFileError(f"{info.path}: ends inside tensor {info.name}; download the file again")


class TensorSource(Protocol):
    """An opened set of files with tensors in it."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    def read_rows(self, name: str, first: int, count: int) -> U8:
        """Rows first ... first + count - 1 of a tensor flattened to rows: uint8 [count, row bytes]."""

    def place(self, name: str) -> tuple[int, int] | None:
        """An open file's descriptor, and the offset of the tensor's first byte in it.

        None where its rows do not lie behind each other, whole, in one file.
        """

    def read_bytes(self, name: str, first: int, count: int) -> bytes:
        """Bytes first ... first + count - 1 of a tensor of any type, also one that cannot be widened here."""

    def expect(self, name: str) -> None:
        """Say that a whole tensor is about to be read, so that the system may fetch it meanwhile."""

    def table(self, name: str) -> RowTable:
        """A matrix whose rows are read when they are wanted, through a file of its own."""

    def close(self) -> None: ...


class OpenFiles:
    """The read half of a `TensorSource`: positional reads from files that are opened once."""

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        self._tensors = tensors
        self._files: dict[Path, int] = {}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read_rows(self, name: str, first: int, count: int) -> U8:
        """See `TensorSource.read_rows`. ModelFileError where the file has shrunk meanwhile."""
        info = self._tensors[name]
        size = info.readable().row_bytes(info.columns)
        if first < 0 or count < 0 or (first + count) * size > info.nbytes:
            raise IndexError(f"rows {first} to {first + count - 1} lie outside tensor {name}")
        raw = np.empty((count, size), np.uint8)
        self._fill(info, raw.reshape(-1).data, first * size)
        return raw

    def read_bytes(self, name: str, first: int, count: int) -> bytes:
        """See `TensorSource.read_bytes`."""
        info = self._tensors[name]
        if first < 0 or count < 0 or first + count > info.nbytes:
            raise IndexError(f"bytes {first} to {first + count - 1} lie outside tensor {name}")
        raw = bytearray(count)
        self._fill(info, memoryview(raw), first)
        return bytes(raw)

    def _fill(self, info: TensorInfo, view: memoryview, first: int) -> None:
        file, done = self._file(info.path), 0
        while done < len(view):
            got = os.preadv(file, [view[done:]], info.offset + first + done)
            if not got:
                raise ends_inside(info)
            done += got

    def place(self, name: str) -> tuple[int, int] | None:
        """See `TensorSource.place`."""
        info = self._tensors[name]
        return self._file(info.path), info.offset

    def expect(self, name: str) -> None:
        """See `TensorSource.expect`."""
        info = self._tensors[name]
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file(info.path), info.offset, info.nbytes, os.POSIX_FADV_WILLNEED)

    def table(self, name: str) -> RowTable:
        """See `TensorSource.table`."""
        info = self._tensors[name]
        return RowTable(info.path, info.offset, info.readable(), info.shape[0], info.columns)

    def _file(self, path: Path) -> int:
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDONLY)
        return self._files[path]

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])
