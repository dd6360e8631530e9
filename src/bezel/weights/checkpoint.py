"""A checkpoint, whatever its files: its config, its tensors under one set of names, and packing them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bezel.errors import InvalidRequestError, ModelFileError, UnknownModelError, UnsupportedModelError
from bezel.kernels.formats import dequantize, exactly_q8_0, quantize
from bezel.kernels.interface import F32, U8, Access, Format, Kernels
from bezel.kernels.tables import RowTable
from bezel.weights import configs, names
from bezel.weights.gemma3n_files import format_at
from bezel.weights.gguf import GGUFFile
from bezel.weights.safetensors import SafetensorsFolder
from bezel.weights.source import Opener, TensorInfo, TensorSource, ends_inside, open_local

LEVELS = {"maximum_efficiency": Format.Q4_0, "balanced": Format.Q8_0, "performance": Format.BF16}

_CHUNK_BYTES = 1 << 20
# Sizes that GGUF metadata do not have; the tensors do.
_SIZES_OF_TENSORS = {
    "embed_tokens.weight": "vocab_size",
    "embed_tokens_per_layer.weight": "vocab_size_per_layer_input",
    "layers.0.laurel.linear_left.weight": "laurel_rank",
}
WHOLE_FORMATS = (Format.F32, Format.F16, Format.BF16)
_EIGHT_BITS = (Format.Q4_0, Format.Q5_0, Format.Q8_0)


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint. `stored_names` maps canonical tensor names to those in the files.

    `metadata` is GGUF's (empty for a folder); `folder` is set for Hugging Face folders.
    """

    path: Path
    config: Mapping[str, Any]
    source: TensorSource
    stored_names: Mapping[str, str]
    norms_lack_one: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def info(self, name: str) -> TensorInfo:
        """What is stored under a canonical name; ModelFileError where nothing is."""
        if name not in self.stored_names:
            raise ModelFileError(f"{self.path}: tensor {name} is missing; download the checkpoint again")
        info, part = self.source.tensors[self.stored_names[name]], names.part_of(name)
        return info if part is None or len(info.shape) < 3 else info.part(part)

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Puts this checkpoint's path in front of what is said about its config or tensors without one."""
        try:
            yield
        except (ModelFileError, UnsupportedModelError) as error:
            if str(self.path) in str(error):
                raise
            raise type(error)(f"{self.path}: {error}") from None

    def close(self) -> None:
        self.source.close()


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a GGUF file or a Hugging Face folder, reading headers alone.

    Raises UnknownModelError where nothing is there, ModelFileError and UnsupportedModelError for what is.
    """
    if path.is_dir():
        return open_folder(path)
    if not path.exists():
        raise UnknownModelError(f"{path}: no such file or folder")
    return open_gguf(path)


def open_gguf(path: Path, opener: Opener = open_local) -> Checkpoint:
    """Open a GGUF file, or all its shards, through `opener`."""
    file = GGUFFile.open(path, opener)
    config = configs.config_from_gguf(file.metadata, str(path))
    architecture = file.metadata["general.architecture"]
    stored = names.from_gguf(architecture, file.tensors, config.get("altup_num_inputs", 0))
    if "embed_tokens.weight" not in stored:
        raise ModelFileError(f"{path}: tensor token_embd.weight is missing; download the file again")
    for tensor, field_name in _SIZES_OF_TENSORS.items():
        if tensor in stored:
            config[field_name] = file.tensors[stored[tensor]].shape[0]
    if architecture == "gemma3n":
        config["altup_correct_scale"] = "layers.0.altup.correct_output_scale" in stored
    config["tie_word_embeddings"] = "lm_head.weight" not in stored
    return Checkpoint(path, config, file, stored, norms_lack_one=False, metadata=file.metadata)


def open_folder(path: Path, opener: Opener = open_local) -> Checkpoint:
    """Open a folder whose JSON files are here and whose tensors are reached through `opener`."""
    config = read_json(path / "config.json")
    source = SafetensorsFolder.open(path, opener)
    text_config = config.get("text_config", config)
    if not isinstance(text_config, dict):
        raise ModelFileError(f"{path / 'config.json'}: text_config is not an object")
    defaults = configs.text_defaults(config.get("model_type"), text_config.get("model_type"))
    if defaults is not None:
        inherited = {"dtype": config.get("dtype") or config.get("torch_dtype")}
        config["text_config"] = {**defaults, **inherited, **text_config}
    stored = names.from_hugging_face(source.tensors)
    lack_one = config.get("model_type") not in names.NORMS_ARE_WHOLE
    return Checkpoint(path, config, source, stored, norms_lack_one=lack_one, folder=path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of at most 64 MiB; ModelFileError names what is wrong with it."""
    found: dict[str, Any] = read_json_of(dict, path)
    return found


def read_json_of(kind: type, path: Path) -> Any:
    """As `read_json`, of another kind: a list."""
    try:
        if path.stat().st_size > 64 << 20:
            raise ModelFileError(f"{path}: larger than 64 MiB; this is not a configuration file")
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelFileError(f"{path}: missing; the folder needs it") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelFileError(f"{path}: not valid JSON ({error}); download it again") from None
    if not isinstance(value, kind):
        raise ModelFileError(f"{path}: holds a {type(value).__name__}, not {'an object' if kind is dict else 'a list'}")
    return value


def target_format(checkpoint: Checkpoint, name: str, infos: Sequence[TensorInfo], level: Format | None) -> Format:
    """What a matrix of these tensors, stacked, is kept in; `name` is the first one's canonical name.

    InvalidRequestError where `level` would round them twice.
    """
    formats = {info.readable() for info in infos}
    if level is not None:
        level = format_at(name, level)
        stored = next((info for info in infos if info.format not in WHOLE_FORMATS), None)
        if stored is None:
            return level
        if formats != {level}:
            raise InvalidRequestError(
                f"{checkpoint.path}: {stored.name} is stored as {stored.type_name} and cannot become "
                f"{level.name} without a second loss; leave the level out, or start from BF16 weights"
            )
    if len(formats) == 1:
        return formats.pop()
    return Format.Q8_0 if formats <= set(_EIGHT_BITS) else Format.F32


Part = TypeVar("Part")


class InTurn(Iterable[Part]):
    """Parts that are built one after the other, each time that somebody goes through them."""

    def __init__(self, builders: Sequence[Callable[[], Part]]) -> None:
        self._builders = builders

    def __iter__(self) -> Iterator[Part]:
        for build in self._builders:
            yield build()


class CheckpointWeights:
    """Packs a checkpoint's tensors for one kernel set: the `Weights` that models are built from.

    `level` None keeps the stored formats; otherwise matrices stored as F32, F16 or BF16 are rounded to it. `kept`:
    whether parts that are used in turn stay in memory.
    """

    def __init__(
        self, checkpoint: Checkpoint, kernels: Kernels, level: Format | None = None, kept: bool = True
    ) -> None:
        self.kernels = kernels
        self._checkpoint = checkpoint
        self.level = level
        self._kept = kept

    def __contains__(self, name: str) -> bool:
        return name in self._checkpoint.stored_names

    def matrix(
        self,
        *names: str,
        shape: tuple[int, int],
        access: Access = Access.WHOLE,
        transposed: bool = False,
        padded: bool = False,
    ) -> Any:
        """See `models.interface.Weights.matrix`; formats that differ become Q8_0 where that is exact, else F32.

        What a level's blocks do not divide, and is stored whole, becomes F16.
        """
        if transposed:
            return self._transposed(names[0], shape)
        infos = [_flat(self._checkpoint.info(name)) for name in names]
        rows, columns = shape
        found = [info.shape for info in infos]
        fits = all(len(s) == 2 and (s[1] == columns or (padded and s[1] < columns)) for s in found)
        stored_rows = sum(s[0] for s in found) if fits else -1
        if stored_rows != rows and not (padded and 0 < stored_rows < rows):
            raise ModelFileError(
                f"{self._checkpoint.path}: {' + '.join(names)} has shape {found}; the config asks for {shape}"
            )
        target = target_format(self._checkpoint, names[0], infos, self.level)
        if columns % target.block_elements:
            target = Format.F16
        packed = self.kernels.allocate(target, rows, columns, access)
        row = 0
        for info in infos:
            self._checkpoint.source.expect(info.name)
        for info in infos:
            if info.format is packed.format and access is Access.WHOLE and info.columns == columns:
                self._load(packed, row, info)
            else:
                self._convert(packed, row, info)
            row += info.shape[0]
        return packed

    def _load(self, packed: Any, row: int, info: TensorInfo) -> None:
        place = self._checkpoint.source.place(info.name)
        if place is None:
            self._convert(packed, row, info)
            return
        file, offset = place
        offset += info.first_row * info.readable().row_bytes(info.columns)
        try:
            self.kernels.load_rows(packed, row, info.shape[0], file, offset)
        except EOFError:
            raise ends_inside(info) from None

    def _convert(self, packed: Any, row: int, info: TensorInfo) -> None:
        target, stored = packed.format, info.readable()
        step = max(1, _CHUNK_BYTES // (info.columns * 4))
        for first in range(0, info.shape[0], step):
            count = min(step, info.shape[0] - first)
            raw = self._read(info, info.first_row + first, count)
            if packed.columns != info.columns:
                wide = np.pad(dequantize(stored, raw, info.columns), [(0, 0), (0, packed.columns - info.columns)])
                raw = quantize(target, wide)
            elif stored is target:
                pass
            elif target is Format.Q8_0 and stored in _EIGHT_BITS:
                raw = exactly_q8_0(stored, raw, info.columns)
            else:
                raw = quantize(target, dequantize(stored, raw, info.columns))
            self.kernels.store_rows(packed, row + first, raw)

    def _read(self, info: TensorInfo, first: int, count: int) -> U8:
        source = self._checkpoint.source
        if source.tensors[info.name].columns == info.columns:
            return source.read_rows(info.name, first, count)
        size = info.readable().row_bytes(info.columns)
        return np.frombuffer(source.read_bytes(info.name, first * size, count * size), np.uint8).reshape(count, size)

    def _transposed(self, name: str, shape: tuple[int, int]) -> Any:
        """Small, as projections to another width are. Blocks lie across it: what was rounded is kept whole."""
        stored = self._checkpoint.info(name).readable()
        level = self.level or stored
        target = level if stored in WHOLE_FORMATS and shape[1] % level.block_elements == 0 else Format.F32
        packed = self.kernels.allocate(target, *shape)
        self.kernels.store_rows(packed, 0, quantize(target, self.array(name, (shape[1], shape[0])).T))
        return packed

    def in_turn(self, builders: Sequence[Callable[[], Part]]) -> Iterable[Part]:
        """See `models.interface.Weights.in_turn`."""
        return [build() for build in builders] if self._kept else InTurn(builders)

    def vector(self, name: str, size: int) -> F32:
        """See `models.interface.Weights.vector`. GGUF files may have sizes of 1 around a vector's own."""
        info = self._checkpoint.info(name)
        if [length for length in info.shape if length != 1] not in ([size], []) or math.prod(info.shape) != size:
            raise ModelFileError(
                f"{self._checkpoint.path}: {name} has shape {info.shape}; the config asks for {(size,)}"
            )
        values: F32 = dequantize(info.readable(), self._read(replace(info, shape=(1, size)), 0, 1), size)[0]
        return values

    def array(self, name: str, shape: tuple[int, int]) -> F32:
        """See `models.interface.Weights.array`."""
        info = self._shaped(name, shape)
        return dequantize(info.readable(), self._read(info, 0, shape[0]), shape[1])

    def table(self, name: str, shape: tuple[int, int]) -> RowTable:
        """See `models.interface.Weights.table`; the table has a file of its own and needs this checkpoint no more."""
        return self._checkpoint.source.table(self._shaped(name, shape).name)

    def _shaped(self, name: str, shape: tuple[int, ...]) -> TensorInfo:
        info = _flat(self._checkpoint.info(name))
        if info.shape != shape:
            raise ModelFileError(f"{self._checkpoint.path}: {name} has shape {info.shape}; the config asks for {shape}")
        return info

    def norm(self, name: str, size: int) -> F32:
        """See `models.interface.Weights.norm`."""
        values = self.vector(name, size)
        return values + np.float32(1) if self._checkpoint.norms_lack_one else values


def _flat(info: TensorInfo) -> TensorInfo:
    """The weights of a convolution as a matrix, a row for each channel that comes out."""
    if len(info.shape) not in (3, 4) or info.format not in WHOLE_FORMATS:
        return info
    return replace(info, shape=(info.shape[0], math.prod(info.shape[1:])))
