"""The kernel set in compiled C (native/*.c), called through ctypes. See docs/decisions/001-ctypes.md."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from bezel.errors import InvalidRequestError, KernelLibraryError
from bezel.kernels.interface import F32, I32, U8, Format, KVView, Rope, Segment
from bezel.settings import default_threads

ABI_VERSION = 1
INSTRUCTION_SETS = ("portable", "avx2", "avx512")
_INTERLEAVED = {Format.Q4_0: 32 + 256, Format.Q8_0: 32 + 512}
_LANES, _GROUP = 16, 32
_MOST_SLOTS = 256


@dataclass
class Matrix:
    """A packed weight matrix: interleaved by 16 rows for Q4_0 and Q8_0, GGUF's own layout for other formats."""

    format: Format
    rows: int
    columns: int
    data: U8

    @property
    def nbytes(self) -> int:
        return int(self.data.nbytes)


def _path() -> Path:
    named = os.environ.get("BEZEL_KERNELS_LIBRARY")
    if named:
        return Path(named)
    # A package that is installed for editing lies in two places: its sources, and what was built from them.
    for place in resources.files("bezel.kernels").iterdir():
        if place.name == "bezel_kernels.so":
            return Path(str(place))
    raise KernelLibraryError("the compiled kernels are missing; install bezel with: pip install .")


@cache
def _library() -> ctypes.CDLL:
    path = _path()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelLibraryError(f"{path}: cannot be loaded ({error}); build it again with: pip install .") from error
    if library.bezel_abi_version() != ABI_VERSION:
        raise KernelLibraryError(f"{path}: was built for another version of bezel; build it again with: pip install .")
    return library


_POINTER, _LONG, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_float
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "store": (_INT, _LONG, _POINTER, _LONG, _LONG, _POINTER),
    "linear": (_INT, _LONG, _LONG, _POINTER, _POINTER, _LONG, _POINTER),
    "embed": (_INT, _LONG, _POINTER, _POINTER, _LONG, _FLOAT, _POINTER),
    "rms_norm": (_POINTER, _POINTER, _LONG, _LONG, _FLOAT, _POINTER, _INT),
    "norm_rope": (_POINTER, _POINTER, _LONG, _LONG, _LONG, _FLOAT, _POINTER, _POINTER, _POINTER),
    "attention": (*[_POINTER] * 5, *[_LONG] * 6, _FLOAT, _FLOAT, _POINTER),
    "geglu": (_POINTER, _LONG, _LONG, _POINTER),
    "soft_cap": (_POINTER, _LONG, _FLOAT),
    "read": (_POINTER, _LONG),
}


def _address(array: Any, dtype: Any = np.float32) -> int:
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(f"a kernel was given {array.dtype} {array.shape}, not contiguous {np.dtype(dtype)}")
    return int(array.__array_interface__["data"][0])


class Native:
    """Implements `Kernels`; see there for what each method promises, and `reference` for the definitions.

    `isa` is one of INSTRUCTION_SETS (default: $BEZEL_ISA, else the best that the processor has); `threads` is for
    the whole process (default: $BEZEL_THREADS, else one for each processor that may be used). Raises
    InvalidRequestError for values that cannot be, KernelLibraryError where the library is missing.
    """

    name = "native"

    def __init__(self, threads: int | None = None, isa: str | None = None) -> None:
        self._library = _library()
        best = INSTRUCTION_SETS[self._library.bezel_best_isa()]
        self.isa = isa or os.environ.get("BEZEL_ISA") or best
        if self.isa not in INSTRUCTION_SETS[: INSTRUCTION_SETS.index(best) + 1]:
            raise InvalidRequestError(
                f"instruction set {self.isa!r} cannot be used; this processor runs "
                + ", ".join(INSTRUCTION_SETS[: INSTRUCTION_SETS.index(best) + 1])
            )
        self.threads = int(self._library.bezel_set_threads(threads or default_threads()))
        self._calls = {}
        for name, arguments in _SIGNATURES.items():
            call = getattr(self._library, f"bezel_{name}_{self.isa}")
            call.argtypes = arguments
            self._calls[name] = call

    def allocate(self, format: Format, rows: int, columns: int) -> Matrix:
        if format in _INTERLEAVED:
            format.row_bytes(columns)
            size = -(-rows // _LANES) * (columns // _GROUP) * _INTERLEAVED[format]
        else:
            size = rows * format.row_bytes(columns)
        return Matrix(format, rows, columns, np.zeros(size, np.uint8))

    def store_rows(self, matrix: Matrix, first_row: int, raw: U8) -> None:
        row_bytes = matrix.format.row_bytes(matrix.columns)
        if raw.ndim != 2 or raw.shape[1] != row_bytes or not 0 <= first_row <= matrix.rows - len(raw):
            raise ValueError(
                f"rows {raw.shape} from {first_row} do not fit into {matrix.rows} rows of {row_bytes} bytes"
            )
        raw = np.ascontiguousarray(raw)
        if matrix.format in _INTERLEAVED:
            self._calls["store"](
                matrix.format.type_id,
                matrix.columns,
                _address(matrix.data, np.uint8),
                first_row,
                len(raw),
                _address(raw, np.uint8),
            )
        else:
            matrix.data[first_row * row_bytes : (first_row + len(raw)) * row_bytes] = raw.reshape(-1)

    def linear(self, matrix: Matrix, x: F32) -> F32:
        if x.ndim != 2 or x.shape[1] != matrix.columns:
            raise ValueError(f"x {x.shape} does not go with a matrix of {matrix.rows} by {matrix.columns}")
        out = np.empty((len(x), matrix.rows), np.float32)
        failed = self._calls["linear"](
            matrix.format.type_id,
            matrix.rows,
            matrix.columns,
            _address(matrix.data, np.uint8),
            _address(x),
            len(x),
            _address(out),
        )
        if failed:
            raise MemoryError(f"no memory to round {x.shape} activations")
        return out

    def embed(self, matrix: Matrix, ids: I32, scale: float) -> F32:
        if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < matrix.rows):
            raise ValueError(f"an id lies outside the table of {matrix.rows} rows")
        out = np.empty((len(ids), matrix.columns), np.float32)
        self._calls["embed"](
            matrix.format.type_id,
            matrix.columns,
            _address(matrix.data, np.uint8),
            _address(ids, np.int32),
            len(ids),
            scale,
            _address(out),
        )
        return out

    def rms_norm(self, x: F32, weight: F32 | None, eps: float) -> F32:
        out = np.empty_like(x)
        self._norm(x, weight, eps, out, add=False)
        return out

    def add_norm(self, residual: F32, x: F32, weight: F32 | None, eps: float) -> None:
        if residual.shape != x.shape:
            raise ValueError(f"residual {residual.shape} and x {x.shape} differ")
        if weight is None:
            residual += x
        else:
            self._norm(x, weight, eps, residual, add=True)

    def _norm(self, x: F32, weight: F32 | None, eps: float, out: F32, add: bool) -> None:
        n = x.shape[-1]
        self._calls["rms_norm"](_address(x), _weight(weight, n), x.size // n, n, eps, _address(out), add)

    def norm_rope(self, x: F32, weight: F32 | None, eps: float, rope: Rope, positions: I32) -> None:
        tokens, heads, n = x.shape
        if len(positions) != tokens or rope.cos.shape[1] != n // 2 or rope.sin.shape != rope.cos.shape:
            raise ValueError(f"x {x.shape}, {len(positions)} positions and tables {rope.cos.shape} do not go together")
        if tokens and not (int(positions.min()) >= 0 and int(positions.max()) < len(rope.cos)):
            raise ValueError(f"a position lies outside the tables of {len(rope.cos)}")
        self._calls["norm_rope"](
            _address(x),
            _weight(weight, n),
            tokens,
            heads,
            n,
            eps,
            _address(rope.cos),
            _address(rope.sin),
            _address(positions, np.int32),
        )

    def write_cache(self, k: F32, v: F32, kv: KVView, segments: Sequence[Segment]) -> None:
        for segment, table in zip(segments, kv.tables, strict=True):
            positions = np.arange(segment.start, segment.start + segment.length)
            blocks, slots = table[positions // kv.block_size], positions % kv.block_size
            kv.keys[blocks, slots] = k[segment.row : segment.row + segment.length]
            kv.values[blocks, slots] = v[segment.row : segment.row + segment.length]

    def attention(
        self, q: F32, kv: KVView, segments: Sequence[Segment], scale: float, window: int | None, soft_cap: float | None
    ) -> F32:
        tokens, heads, head_dim = q.shape
        _, block_size, kv_heads, kv_dim = kv.keys.shape
        if kv_dim != head_dim or heads % kv_heads or block_size > _MOST_SLOTS:
            raise ValueError(f"q {q.shape} does not go with a cache of {kv.keys.shape}")
        tables = np.zeros(tokens, np.uint64)
        positions = np.zeros(tokens, np.int32)
        for segment, table in zip(segments, kv.tables, strict=True):
            end = segment.start + segment.length
            first = max(0, segment.start - window + 1) if window else 0
            used = table[first // block_size : -(-end // block_size)]
            if len(table) * block_size < end or int(used.min()) < 0 or int(used.max()) >= len(kv.keys):
                raise ValueError(f"the block table of {segment} does not lead to the cache's {len(kv.keys)} blocks")
            rows = slice(segment.row, segment.row + segment.length)
            tables[rows] = _address(table, np.int32)
            positions[rows] = np.arange(segment.start, end)
        out = np.empty((tokens, heads * head_dim), np.float32)
        failed = self._calls["attention"](
            _address(q),
            _address(kv.keys),
            _address(kv.values),
            _address(tables, np.uint64),
            _address(positions, np.int32),
            tokens,
            heads,
            kv_heads,
            head_dim,
            block_size,
            window or 0,
            scale,
            soft_cap or 0.0,
            _address(out),
        )
        if failed:
            raise MemoryError(f"no memory for the attention of {q.shape}")
        return out

    def geglu(self, gate_up: F32) -> F32:
        rows, n = gate_up.shape[0], gate_up.shape[1] // 2
        out = np.empty((rows, n), np.float32)
        self._calls["geglu"](_address(gate_up), rows, n, _address(out))
        return out

    def soft_cap(self, x: F32, cap: float) -> None:
        self._calls["soft_cap"](_address(x), x.size, cap)

    def read(self, buffer: Any) -> None:
        """Read a float64 array once and do nothing with it: the machine's own speed limit."""
        self._calls["read"](_address(buffer, np.float64), buffer.nbytes)


def _weight(weight: F32 | None, n: int) -> int | None:
    if weight is not None and weight.shape != (n,):
        raise ValueError(f"a norm of {weight.shape} does not go with rows of {n}")
    return None if weight is None else _address(weight)


def read_bandwidth(threads: int | None = None) -> float:
    """Bytes a second at which `threads` threads read memory, best of three passes over 1 GiB."""
    kernels = Native(threads)
    buffer = np.ones(1 << 27, np.float64)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        kernels.read(buffer)
        seconds.append(time.perf_counter() - began)
    return buffer.nbytes / min(seconds)
