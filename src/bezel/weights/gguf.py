"""GGUF files, versions 2 and 3: a bounded reader of metadata and of where tensors lie.

Nothing is mapped. Every count and length is checked against the bytes that are left before it is used.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.kernels.interface import Format
from bezel.weights.source import Opener, OpenFiles, TensorInfo, open_local

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_FORMATS = {format.type_id: format for format in Format}
_NAME_LIMIT = 64 << 10
_BLOCK_BYTES = 1 << 18
_LENGTH = struct.Struct("<Q")
_DIMENSIONS = 4
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


class _Reader:
    """Sequential reads, a block of the file at a time, that know how many bytes are left."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.path, self._file, self._unread = path, file, size
        self._block, self._at = b"", 0

    @property
    def left(self) -> int:
        return len(self._block) - self._at + self._unread

    def fail(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: {what}; download the file again")

    def take(self, size: int, what: str) -> bytes:
        self._hold(size, what)
        self._at += size
        return self._block[self._at - size : self._at]

    def _hold(self, size: int, what: str) -> None:
        """Make sure that the block holds the next `size` bytes."""
        held = len(self._block) - self._at
        if size <= held:
            return
        if size > self.left:
            raise self.fail(f"{what} needs {size} bytes and {self.left} are left")
        wanted = min(self._unread, max(size - held, _BLOCK_BYTES))
        self._block, self._at = self._block[self._at :] + self._file.read(wanted), 0
        self._unread -= wanted
        if len(self._block) != held + wanted:
            raise self.fail(f"the file ends inside {what}")

    def number(self, code: str, what: str) -> int:
        value: int = struct.unpack("<" + code, self.take(struct.calcsize(code), what))[0]
        return value

    def string(self, what: str, limit: int | None = None) -> str:
        length = self.number("Q", what)
        if limit is not None and length > limit:
            raise self.fail(f"{what} is {length} bytes long; {limit} are allowed")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8") from None

    def value(self, kind: int, what: str) -> Any:
        """A metadata value: a number, a flag, a string, a list of strings or flags, or an array of numbers."""
        if kind == STRING:
            return self.string(what)
        if kind in SCALARS:
            return self._scalars(kind, 1, what)[0]
        if kind != ARRAY:
            raise self.fail(f"{what} has the unknown type {kind}")
        kind, count = self.number("I", what), self.number("Q", what)
        if kind == STRING:
            return self._strings(count, what)
        if kind in SCALARS:
            return self._scalars(kind, count, what)
        raise self.fail(f"{what} is a list of the type {kind}, which cannot be")

    def _strings(self, count: int, what: str) -> list[str]:
        """As `string`, `count` times: a vocabulary has hundreds of thousands, so those of a block are cut at once."""
        if count > self.left // 8:
            raise self.fail(f"{what} promises {count} strings in {self.left} bytes")
        found: list[str] = []
        while len(found) < count:
            found.append(self.string(what))
            block, at, end = self._block, self._at, len(self._block)
            for _ in range(count - len(found)):
                first = at + 8
                if first > end:
                    break
                (length,) = _LENGTH.unpack_from(block, at)
                if first + length > end:
                    break
                try:
                    found.append(block[first : first + length].decode())
                except UnicodeDecodeError:
                    raise self.fail(f"{what} is not UTF-8") from None
                at = first + length
            self._at = at
        return found

    def _scalars(self, kind: int, count: int, what: str) -> Sequence[Any]:
        code = SCALARS[kind]
        raw = self.take(count * struct.calcsize(code), what)
        if code == "?":
            if raw.strip(b"\0\1"):
                raise self.fail(f"{what} is neither true nor false")
            return [flag == 1 for flag in raw]
        values = array(code, raw)
        if sys.byteorder == "big":
            values.byteswap()
        return values


class GGUFFile(OpenFiles):
    """A GGUF file, or all the shards beside the one named: `metadata` (of the first) and `tensors`."""

    def __init__(self, metadata: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> None:
        super().__init__(tensors)
        self.metadata = metadata

    @classmethod
    def open(cls, path: Path, opener: Opener = open_local) -> GGUFFile:
        """Read headers alone. ModelFileError names the file, the field and the way out."""
        metadata: dict[str, Any] = {}
        tensors: dict[str, TensorInfo] = {}
        for shard in _shards(path):
            file, size = opener(shard)
            with file:
                found, infos = _read(shard, file, size)
            metadata = metadata or found
            for info in infos:
                if info.name in tensors:
                    raise ModelFileError(f"{shard}: tensor {info.name} stands twice; download the file again")
                tensors[info.name] = info
        return cls(metadata, tensors)


def _shards(path: Path) -> list[Path]:
    match = _SHARD.fullmatch(path.name)
    if match is None or not 1 <= int(match[2]) <= int(match[3]):
        return [path]
    return [path.with_name(f"{match[1]}-{i:05}-of-{match[3]}.gguf") for i in range(1, int(match[3]) + 1)]


def _read(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, Any], list[TensorInfo]]:
    reader = _Reader(file, path, size)
    if reader.take(4, "the magic number") != MAGIC:
        raise ModelFileError(f"{path}: not a GGUF file; give a .gguf file or a Hugging Face folder")
    version = reader.number("I", "the version")
    if version not in (2, 3):
        raise UnsupportedModelError(f"{path}: GGUF version {version}; 2 and 3 can be read, convert it again")
    tensor_count, key_count = reader.number("Q", "the tensor count"), reader.number("Q", "the key count")
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = reader.string("a metadata key", _NAME_LIMIT)
        if key in metadata:
            raise reader.fail(f"metadata {key[:80]} stands twice")
        metadata[key] = reader.value(reader.number("I", key[:80]), f"metadata {key[:80]}")
    headers = [_tensor_header(reader) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
        raise reader.fail(f"metadata general.alignment is {alignment!r}, not a power of two")
    start = -(-(size - reader.left) // alignment) * alignment
    infos = [_place(path, *header, start, size) for header in headers]
    end = 0
    for info in sorted(infos, key=lambda info: (info.offset, info.nbytes)):
        if info.offset < end:
            raise reader.fail(f"tensor {info.name} overlaps another")
        end = info.offset + info.nbytes
    return metadata, infos


def _tensor_header(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    name = reader.string("a tensor name", _NAME_LIMIT)
    what = f"tensor {name[:80]}"
    dimensions = reader.number("I", what)
    if not 1 <= dimensions <= _DIMENSIONS:
        raise reader.fail(f"{what} has {dimensions} dimensions; 1 to {_DIMENSIONS} are possible")
    shape = tuple(reader.number("Q", what) for _ in range(dimensions))[::-1]
    return name, shape, reader.number("I", what), reader.number("Q", what)


def _place(
    path: Path, name: str, shape: tuple[int, ...], type_id: int, offset: int, start: int, size: int
) -> TensorInfo:
    format = _FORMATS.get(type_id)
    nbytes = 0
    if format is not None:
        if shape[-1] % format.block_elements:
            raise ModelFileError(
                f"{path}: tensor {name[:80]}: rows of {shape[-1]} do not divide into {format.name} blocks"
            )
        nbytes = math.prod(shape[:-1]) * format.row_bytes(shape[-1])
    if start + offset + nbytes > size:
        raise ModelFileError(f"{path}: tensor {name[:80]} ends behind the file's {size} bytes; download the file again")
    return TensorInfo(name, format, format.name if format else f"type {type_id}", shape, path, start + offset, nbytes)
