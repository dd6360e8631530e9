"""Hugging Face folders of safetensors: headers read and checked here, shards joined by their index."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bezel.errors import ModelFileError
from bezel.kernels.interface import Format
from bezel.weights.source import Opener, OpenFiles, TensorInfo, open_local

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_HEADER_LIMIT = 100 << 20
_SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_SIZES |= {"I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
_FORMATS = {"F32": Format.F32, "F16": Format.F16, "BF16": Format.BF16}


class SafetensorsFolder(OpenFiles):
    """The tensors of `model.safetensors`, or of the shards that `model.safetensors.index.json` names."""

    @classmethod
    def open(cls, folder: Path, opener: Opener = open_local) -> SafetensorsFolder:
        """Read headers alone. ModelFileError names the file and what is wrong with it."""
        index = folder / INDEX
        if index.exists():
            return cls(_join(index, opener))
        single = folder / SINGLE
        if opener is open_local and not single.exists():
            raise ModelFileError(f"{folder}: holds neither {SINGLE} nor {INDEX}; download the checkpoint")
        return cls({info.name: info for info in read_header(single, opener)})


def _join(index: Path, opener: Opener) -> dict[str, TensorInfo]:
    weight_map = _parse(index, index.read_bytes()).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise ModelFileError(f"{index}: weight_map does not map tensor names to files")
    tensors: dict[str, TensorInfo] = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or shard in ("", ".", ".."):
            raise ModelFileError(f"{index}: shard {shard!r} lies outside the folder")
        tensors |= {info.name: info for info in read_header(index.parent / shard, opener)}
    lost = next((name for name in weight_map if name not in tensors), None)
    if lost is not None:
        raise ModelFileError(f"{index}: tensor {lost} is not in {weight_map[lost]}; download that shard again")
    return tensors


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ModelFileError(f"{path}: a name stands twice in the header")
        return found

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: the header is not valid JSON; download the file again") from None
    if not isinstance(value, dict):
        raise ModelFileError(f"{path}: the header is not an object")
    return value


def read_header(path: Path, opener: Opener = open_local) -> Iterable[TensorInfo]:
    """The tensors of one file, every offset checked against its length."""
    file, size = opener(path)
    with file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_HEADER_LIMIT, size - 8):
            raise ModelFileError(f"{path}: a header of {length} bytes does not fit a file of {size}")
        header = _parse(path, file.read(length))
    header.pop("__metadata__", None)
    start, end = 8 + length, 0
    found = [_tensor(path, name, entry, start, size) for name, entry in header.items()]
    for info in sorted(found, key=lambda info: (info.offset, info.nbytes)):
        if info.offset < end:
            raise ModelFileError(f"{path}: tensor {info.name} overlaps another")
        end = info.offset + info.nbytes
    return found


def _tensor(path: Path, name: str, entry: Any, start: int, size: int) -> TensorInfo:
    def sizes(value: Any, most: int) -> list[int] | None:
        fits = isinstance(value, list) and len(value) <= most and all(type(v) is int and v >= 0 for v in value)
        return value if fits else None

    if not isinstance(entry, dict):
        raise ModelFileError(f"{path}: tensor {name}: its entry is not an object")
    kind, shape, offsets = entry.get("dtype"), sizes(entry.get("shape"), 8), sizes(entry.get("data_offsets"), 2)
    if not isinstance(kind, str) or kind not in _SIZES:
        raise ModelFileError(f"{path}: tensor {name}: dtype {str(kind)[:40]!r} is unknown")
    if shape is None or offsets is None or len(offsets) != 2:
        raise ModelFileError(f"{path}: tensor {name}: shape or data_offsets are not lists of sizes")
    nbytes = math.prod(shape) * _SIZES[kind]
    if offsets[1] - offsets[0] != nbytes or start + offsets[1] > size:
        raise ModelFileError(f"{path}: tensor {name}: its {nbytes} bytes do not lie where the header says")
    return TensorInfo(name, _FORMATS.get(kind), kind, tuple(shape), path, start + offsets[0], nbytes)
