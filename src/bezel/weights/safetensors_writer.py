"""Safetensors files written as a stream: the header first, then tensors as they are read; sharded where large."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bezel.kernels.interface import U8
from bezel.weights.safetensors import INDEX, SINGLE
from bezel.weights.storage import Write, new_file

SHARD_BYTES = 5_000_000_000
"""The most bytes of tensors in a file, unless one tensor alone has more."""
_ALIGNMENT = 8
ELEMENT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor to be written; `kind` is safetensors' name of its type, `shape` outermost first."""

    name: str
    kind: str
    shape: tuple[int, ...]
    nbytes: int

    @classmethod
    def of(cls, name: str, kind: str, shape: tuple[int, ...]) -> StoredTensor:
        """One whose bytes follow from its shape, for the types of ELEMENT_BYTES."""
        return cls(name, kind, shape, math.prod(shape) * ELEMENT_BYTES[kind])


Chunks = Callable[[StoredTensor], Iterable[U8]]


def write_safetensors(
    folder: Path, tensors: Sequence[StoredTensor], chunks_of: Chunks, shard_bytes: int = SHARD_BYTES
) -> int:
    """Write `model.safetensors`, or shards and their index, into `folder`; returns the bytes of the tensors.

    `chunks_of` is asked once for each tensor, in order, for its bytes as uint8 arrays; only the one in hand is held.
    Raises StorageError, and ValueError where the chunks are not what the shape promises.
    """
    shards = _shards(tensors, shard_bytes)
    total = sum(tensor.nbytes for tensor in tensors)
    if len(shards) == 1:
        _write(folder / SINGLE, tensors, chunks_of)
        return total
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write(folder / name, shard, chunks_of)
        weight_map |= {tensor.name: name for tensor in shard}
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)
    write_text(folder / INDEX, text)
    return total


def write_text(path: Path, text: str) -> None:
    """A new text file. StorageError where it cannot be written."""
    raw = text.encode("utf-8")
    with new_file(path, len(raw)) as write:
        write(raw)


def _shards(tensors: Sequence[StoredTensor], shard_bytes: int) -> list[list[StoredTensor]]:
    shards: list[list[StoredTensor]] = [[]]
    held = 0
    for tensor in tensors:
        if shards[-1] and held + tensor.nbytes > shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(tensor)
        held += tensor.nbytes
    return shards


def _write(path: Path, tensors: Sequence[StoredTensor], chunks_of: Chunks) -> None:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        place = [offset, offset + tensor.nbytes]
        entries[tensor.name] = {"dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": place}
        offset += tensor.nbytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    with new_file(path, 8 + len(header) + offset) as write:
        write(len(header).to_bytes(8, "little") + header)
        for tensor in tensors:
            _copy(tensor, chunks_of(tensor), write)


def _copy(tensor: StoredTensor, chunks: Iterable[U8], write: Write) -> None:
    left = tensor.nbytes
    for chunk in chunks:
        left -= chunk.nbytes
        if left < 0:
            break
        write(np.ascontiguousarray(chunk).reshape(-1).data)
    if left:
        raise ValueError(f"{tensor.name}: {abs(left)} bytes {'were not given' if left > 0 else 'too many'}")
