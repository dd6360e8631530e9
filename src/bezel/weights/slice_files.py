"""A slice of a Gemma 3n written out as a checkpoint of its own, in the form in which the whole one is kept."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bezel.errors import InvalidRequestError
from bezel.kernels.interface import U8
from bezel.weights.checkpoint import Checkpoint
from bezel.weights.gguf_writer import TensorHeader, typed, write_gguf
from bezel.weights.safetensors_writer import SHARD_BYTES, StoredTensor, write_safetensors, write_text
from bezel.weights.slice import sliced
from bezel.weights.source import TensorInfo
from bezel.weights.storage import folder_when_whole, storage_errors

Progress = Callable[[int, int], None]
_CHUNK_BYTES = 8 << 20
# Other forms of the whole weights, which would contradict the slice, and what is written anew.
_NOT_COPIED = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx", ".index.json")


def write_slice(
    checkpoint: Checkpoint,
    target: Path,
    size: str | Sequence[int],
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Write the slice of that size (see `slice.sliced`) to `target` and return the bytes of its tensors.

    A Hugging Face folder becomes a folder that Transformers loads: config, tensors, tokenizer and all other files,
    towers untouched. A GGUF becomes a GGUF file in the same formats. Rows are streamed; `target` appears when whole.
    `progress(done, total)` counts bytes of tensors.

    Raises what `sliced` raises, InvalidRequestError where `target` does not fit the source, StorageError where it
    exists, or cannot be written.
    """
    is_file = target.suffix == ".gguf"
    if is_file == (checkpoint.folder is not None):
        raise InvalidRequestError(
            f"{target}: a GGUF is cut into a .gguf file and a folder into a folder; "
            "bezel quantize --size writes a GGUF from a folder"
        )
    view = sliced(checkpoint, size)
    with storage_errors(target, 0):
        if target.exists():
            raise FileExistsError(errno.EEXIST, "it exists already")
    counted = _Counted(view, progress)
    if is_file:
        return _write_gguf(view, target, counted)
    return _write_folder(view, target, counted, shard_bytes)


class _Counted:
    """Chunks of a view's tensors, whose bytes are told as they are taken."""

    def __init__(self, view: Checkpoint, progress: Progress | None) -> None:
        self._source, self._progress = view.source, progress
        self.total = sum(info.nbytes for info in view.source.tensors.values())
        self._done = 0

    def rows(self, info: TensorInfo) -> Iterator[U8]:
        """Rows of a tensor in its own format: uint8 [n, row bytes]."""
        row_bytes = info.readable().row_bytes(info.columns)
        count, step = info.nbytes // max(1, row_bytes), max(1, _CHUNK_BYTES // max(1, row_bytes))
        self._source.expect(info.name)
        for first in range(0, count, step):
            raw = self._source.read_rows(info.name, first, min(step, count - first))
            self._tell(raw.nbytes)
            yield raw

    def chunks(self, info: TensorInfo) -> Iterator[U8]:
        """Bytes of a tensor of any type: uint8 arrays."""
        if info.format is not None:
            yield from self.rows(info)
            return
        for first in range(0, info.nbytes, _CHUNK_BYTES):
            raw = self._source.read_bytes(info.name, first, min(_CHUNK_BYTES, info.nbytes - first))
            self._tell(len(raw))
            yield np.frombuffer(raw, np.uint8)

    def _tell(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(self._done, self.total)


def _write_gguf(view: Checkpoint, target: Path, counted: _Counted) -> int:
    infos = {TensorHeader(info.name, info.shape, info.readable()): info for info in view.source.tensors.values()}
    metadata = {key: typed(value) for key, value in view.metadata.items() if not key.startswith("split.")}
    write_gguf(target, metadata, list(infos), lambda header: counted.rows(infos[header]))
    return counted.total


def _write_folder(view: Checkpoint, target: Path, counted: _Counted, shard_bytes: int) -> int:
    assert view.folder is not None
    beside = [
        file
        for file in sorted(view.folder.iterdir())
        if file.is_file() and file.name != "config.json" and not file.name.endswith(_NOT_COPIED)
    ]
    infos = {info.name: info for info in view.source.tensors.values()}
    tensors = [StoredTensor(info.name, info.type_name, info.shape, info.nbytes) for info in infos.values()]
    size = counted.total + sum(file.stat().st_size for file in beside)
    with folder_when_whole(target, size) as folder:
        write_text(folder / "config.json", json.dumps(view.config, indent=2, ensure_ascii=False) + "\n")
        for file in beside:
            with storage_errors(target, size):
                shutil.copyfile(file, folder / file.name)
        return write_safetensors(folder, tensors, lambda tensor: counted.chunks(infos[tensor.name]), shard_bytes)
