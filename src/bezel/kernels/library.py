"""The kernel set in compiled C (native/*.c), called through ctypes. See docs/decisions/001-ctypes.md."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.errors import InvalidRequestError
from bezel.kernels import compiled
from bezel.kernels.altup import AltUpNative
from bezel.kernels.conformer import ConformerNative
from bezel.kernels.convolutions import ConvolutionsNative
from bezel.kernels.formats import exactly_q8_0
from bezel.kernels.interface import CACHE_FORMATS, F32, I32, U8, U32, Access, Format, KVView, Rope, Segment
from bezel.kernels.layout import Matrix, packed
from bezel.kernels.sparse import SparseNative
from bezel.kernels.tables import TablesNative
from bezel.kernels.tape import Tape, raise_for
from bezel.kernels.towers import TowersNative
from bezel.settings import default_threads

_MOST_SLOTS = 256
_MOST_THREADS = 256  # of native/pool.c


def _address(array: Any, dtype: Any = np.float32) -> int:
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(f"a kernel was given {array.dtype} {array.shape}, not contiguous {np.dtype(dtype)}")
    return int(array.__array_interface__["data"][0])


def _strided(array: Any) -> tuple[int, int]:
    """Address and row stride, in elements, of float32 [T, heads, head_dim] whose rows alone may lie apart."""
    row, head, element = array.strides
    if array.dtype != np.float32 or element != 4 or head != 4 * array.shape[2] or row % 4:
        raise ValueError(f"a kernel was given {array.dtype} {array.shape} with strides {array.strides}")
    return int(array.__array_interface__["data"][0]), row // 4


@dataclass(frozen=True)
class Rows:
    """Per row of a batch: the address of its sequence's block table (uint64), its position and the last it sees."""

    tables: Sequence[I32]
    segments: Sequence[Segment]
    addresses: Any
    positions: I32
    lasts: I32


class Native(AltUpNative, ConformerNative, ConvolutionsNative, SparseNative, TablesNative, TowersNative):
    """Implements `Kernels`; see there for what each method promises, and `reference` for the definitions.

    `isa` is one of `compiled.instruction_sets()` (default: $BEZEL_ISA, else the best of them); `threads` is for the
    whole process (default: $BEZEL_THREADS, else one for each processor that may be used). Raises
    InvalidRequestError for values that cannot be, KernelLibraryError where the library is missing.
    """

    name = "native"

    def __init__(self, threads: int | None = None, isa: str | None = None) -> None:
        threads = checked_threads(threads or 0) or default_threads()
        self._library = compiled.load()
        self.isa = compiled.chosen_set(isa)
        self._library.bezel_set_threads.argtypes = (ctypes.c_int,)
        self.threads = int(self._library.bezel_set_threads(threads))
        self._library.bezel_replay.argtypes = (ctypes.c_char_p, ctypes.c_long)
        signatures = compiled.SIGNATURES | compiled.PLAIN_SIGNATURES
        self._packers = {name: struct.Struct(codes) for name, codes in signatures.items()}
        self._functions = compiled.functions_of(self.isa)
        self._rows: list[Rows] = []
        self._recording = threading.local()  # a tape holds the calls of its own thread alone

    @property
    def _tape(self) -> Tape | None:
        return getattr(self._recording, "tape", None)

    def _call(self, name: str, *arguments: float, reads: tuple[int, int] = (0, 0)) -> None:
        packed = self._packers[name].pack(*arguments)
        raise_for(self._functions[name](packed), f"the kernel {name}")
        tape = self._tape
        if tape is not None:
            tape.add(self._functions[name], packed, reads)

    def _empty(self, *shape: int) -> F32:
        tape = self._tape
        return np.empty(shape, np.float32) if tape is None else tape.empty(shape)

    def _at(self, array: Any, dtype: Any = np.float32) -> int:
        return _address(array, dtype)

    def _rows_at(self, array: Any) -> tuple[int, int]:
        return _strided(array)

    @contextmanager
    def record(self) -> Iterator[Tape]:
        """Writes down every call that is made inside, to be made again by `Tape.replay`.

        Arrays that go in and come out are the caller's to hold; kernels' own results are the tape's.
        """
        tape = Tape(self._library.bezel_replay)
        self._recording.tape = tape
        try:
            yield tape
        finally:
            self._recording.tape = None

    def rows_of(self, tables: Sequence[I32], segments: Sequence[Segment]) -> Rows:
        """Where each row's block table lies, its position, and the last position that it sees."""
        for rows in self._rows:
            if rows.tables is tables and rows.segments is segments:
                return rows
        count = sum(segment.length for segment in segments)
        rows = Rows(tables, segments, np.zeros(count, np.uint64), *np.zeros((2, count), np.int32))
        for segment, table in zip(segments, tables, strict=True):
            end = segment.start + segment.length
            part = slice(segment.row, segment.row + segment.length)
            rows.addresses[part] = _address(table, np.int32)
            rows.positions[part] = np.arange(segment.start, end)
            rows.lasts[part] = segment.lasts()
        self._rows = [rows, *self._rows[:3]]
        return rows

    def allocate(self, format: Format, rows: int, columns: int, access: Access = Access.WHOLE) -> Matrix:
        format, access, size = packed(format, rows, columns, access)
        return Matrix(format, rows, columns, np.zeros(size, np.uint8), access)

    def store_rows(self, matrix: Matrix, first_row: int, raw: U8) -> None:
        row_bytes = matrix.format.row_bytes(matrix.columns)
        if matrix.format is Format.Q8_0 and raw.shape[1:] == (Format.Q5_0.row_bytes(matrix.columns),):
            raw = exactly_q8_0(Format.Q5_0, raw, matrix.columns)
        if raw.ndim != 2 or raw.shape[1] != row_bytes or not 0 <= first_row <= matrix.rows - len(raw):
            raise ValueError(
                f"rows {raw.shape} from {first_row} do not fit into {matrix.rows} rows of {row_bytes} bytes"
            )
        raw = np.ascontiguousarray(raw)
        part = _address(matrix.data, np.uint8), first_row, len(raw), _address(raw, np.uint8)
        if matrix.access is Access.COLUMNS:
            self._call("store_columns", matrix.format.type_id, matrix.rows, matrix.columns, *part)
        elif matrix.access is Access.ROWS:
            matrix.data[first_row * row_bytes : (first_row + len(raw)) * row_bytes] = raw.reshape(-1)
        else:
            self._call("store", matrix.format.type_id, matrix.columns, *part)

    def load_rows(self, matrix: Matrix, first_row: int, count: int, file: int, offset: int) -> None:
        if matrix.access is not Access.WHOLE or not 0 <= first_row <= matrix.rows - count:
            raise ValueError(f"{count} rows from {first_row} do not fit into {matrix.rows}")
        status = np.zeros(1, np.int32)
        self._call(
            "load",
            matrix.format.type_id,
            matrix.columns,
            _address(matrix.data, np.uint8),
            first_row,
            count,
            file,
            offset,
            _address(status, np.int32),
        )
        if status[0] < 0:
            raise EOFError
        if status[0]:
            raise OSError(int(status[0]), os.strerror(int(status[0])))

    def linear(self, matrix: Matrix, x: F32) -> F32:
        if x.ndim != 2 or x.shape[1] != matrix.columns or matrix.access is not Access.WHOLE:
            raise ValueError(f"x {x.shape} does not go with a matrix of {matrix.rows} by {matrix.columns}")
        out = self._empty(len(x), matrix.rows)
        weights = _address(matrix.data, np.uint8)
        self._call(
            "linear",
            matrix.format.type_id,
            matrix.rows,
            matrix.columns,
            weights,
            _address(x),
            len(x),
            _address(out),
            reads=(weights, matrix.nbytes),
        )
        return out

    def embed(self, matrix: Matrix, ids: I32, scale: float) -> F32:
        if not all_below(ids, matrix.rows):
            raise ValueError(f"an id lies outside the table of {matrix.rows} rows")
        out = self._empty(len(ids), matrix.columns)
        self._call(
            "embed",
            matrix.format.type_id,
            matrix.columns,
            _address(matrix.data, np.uint8),
            _address(ids, np.int32),
            len(ids),
            scale,
            _address(out),
        )
        return out

    def rows(self, x: F32, index: I32) -> F32:
        if not all_below(index, len(x)):
            raise ValueError(f"a row lies outside {x.shape}")
        out = self._empty(len(index), x.shape[1])
        self._call("rows", _address(x), _address(index, np.int32), len(index), x.shape[1], _address(out))
        return out

    def picked(self, positions: I32, index: I32) -> I32:
        found: I32 = self.rows(positions.view(np.float32)[:, None], index)[:, 0].view(np.int32)
        return found

    def rms_norm(self, x: F32, weight: F32 | None, eps: float) -> F32:
        out = self._empty(*x.shape)
        self._norm(x, weight, eps, out, add=False)
        return out

    def add_norm(self, residual: F32, x: F32, weight: F32 | None, eps: float) -> None:
        if residual.shape != x.shape:
            raise ValueError(f"residual {residual.shape} and x {x.shape} differ")
        if weight is None:
            self._call("add", _address(residual), _address(x), x.size)
        else:
            self._norm(x, weight, eps, residual, add=True)

    def _norm(self, x: F32, weight: F32 | None, eps: float, out: F32, add: bool) -> None:
        n = x.shape[-1]
        self._call("rms_norm", _address(x), _weight(weight, n), x.size // n, n, eps, _address(out), add)

    def norm_rope(self, x: F32, weight: F32 | None, eps: float, rope: Rope, positions: I32) -> None:
        tokens, heads, n = x.shape
        if len(positions) != tokens or rope.cos.shape[1] != n // 2 or rope.sin.shape != rope.cos.shape:
            raise ValueError(f"x {x.shape}, {len(positions)} positions and tables {rope.cos.shape} do not go together")
        if not all_below(positions, len(rope.cos)):
            raise ValueError(f"a position lies outside the tables of {len(rope.cos)}")
        self._call(
            "norm_rope",
            *_strided(x),
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
        block_size, kv_heads = kv.keys.shape[1:3]
        head_dim, dtype = kv.head_dim, CACHE_FORMATS[kv.format]
        (k_address, stride), (v_address, v_stride) = _strided(k), _strided(v)
        if k.shape != v.shape or k.shape[1:] != (kv_heads, head_dim) or stride != v_stride:
            raise ValueError(f"keys {k.shape} and values {v.shape} do not go into a cache of {kv.keys.shape}")
        check_blocks(kv, segments, 1)
        rows = self.rows_of(kv.tables, segments)
        self._call(
            "write_cache",
            k_address,
            v_address,
            stride,
            _address(kv.keys, dtype),
            _address(kv.values, dtype),
            _address(rows.addresses, np.uint64),
            _address(rows.positions, np.int32),
            len(rows.positions),
            kv_heads,
            head_dim,
            block_size,
            kv.format.type_id,
        )

    def attention(
        self,
        q: F32,
        kv: KVView,
        segments: Sequence[Segment],
        scale: float,
        window: int | None,
        soft_cap: float | None,
        index: I32 | None = None,
    ) -> F32:
        tokens, heads, head_dim = q.shape
        block_size, kv_heads = kv.keys.shape[1:3]
        dtype = CACHE_FORMATS[kv.format]
        if kv.head_dim != head_dim or heads % kv_heads or block_size > _MOST_SLOTS:
            raise ValueError(f"q {q.shape} does not go with a cache of {kv.keys.shape}")
        check_blocks(kv, segments, window)
        rows = self.rows_of(kv.tables, segments)
        addresses, positions, lasts = rows.addresses, rows.positions, rows.lasts
        if window is not None and any(window < segment.prefix for segment in segments):
            positions = _seeing_all(positions, segments, window)
        if window is not None and any(segment.mutual for segment in segments):
            lasts = np.concatenate([segment.lasts(window) for segment in segments])
        if index is not None:
            halves = self.rows(addresses.view(np.float32).reshape(-1, 2), index)
            addresses, positions = halves.reshape(-1).view(np.uint64), self.picked(positions, index)
            lasts = self.picked(lasts, index)
        if len(positions) != tokens:
            raise ValueError(f"q {q.shape} has other rows than the {len(positions)} of its segments")
        out = self._empty(tokens, heads * head_dim)
        self._call(
            "attention",
            *_strided(q),
            _address(kv.keys, dtype),
            _address(kv.values, dtype),
            _address(addresses, np.uint64),
            _address(positions, np.int32),
            _address(lasts, np.int32),
            tokens,
            heads,
            kv_heads,
            head_dim,
            block_size,
            window or 0,
            kv.format.type_id,
            scale,
            soft_cap or 0.0,
            _address(out),
        )
        return out

    def geglu(self, gate_up: F32) -> F32:
        rows, n = gate_up.shape[0], gate_up.shape[1] // 2
        out = self._empty(rows, n)
        self._call("geglu", _address(gate_up), rows, n, _address(out))
        return out

    def soft_cap(self, x: F32, cap: float) -> None:
        self._call("soft_cap", _address(x), x.size, cap)

    def log_sum_exp(self, x: F32) -> float:
        if not len(x):
            raise ValueError("the log of no sum was asked for")
        out = np.empty(1, np.float64)
        self._call("log_sum_exp", _address(x), len(x), _address(out, np.float64))
        return float(out[0])

    def largest(self, x: F32, count: int) -> I32:
        out = np.empty(min(count, len(x)), np.int32)
        if len(out):
            self._call("largest", _address(x), len(x), len(out), _address(out, np.int32))
        return out

    def masked(self, x: F32, allowed: U32) -> F32:
        if allowed.ndim != 1 or 32 * len(allowed) < len(x):
            raise ValueError(f"a mask of {allowed.shape} words does not cover {len(x)} logits")
        out = np.empty(len(x), np.float32)
        self._call("masked", _address(x), _address(allowed, np.uint32), len(x), _address(out))
        return out

    def read(self, buffer: Any) -> None:
        """Read a float64 array once and do nothing with it: the machine's own speed limit."""
        self._call("read", _address(buffer, np.float64), buffer.nbytes)


def checked_threads(threads: Any) -> int:
    """A number of threads that there can be, 0 for as many as are best; InvalidRequestError for anything else."""
    number = None if isinstance(threads, bool) else getattr(threads, "__index__", None)
    if number is None or not 0 <= number() <= _MOST_THREADS:
        raise InvalidRequestError(f"threads is {threads!r}; it must be a whole number from 0 to {_MOST_THREADS}")
    return int(number())


def all_below(values: I32, end: int) -> bool:
    """Whether every value of an int32 array is at least 0 and below `end`; one pass, since -1 reads as 2^32 - 1."""
    return not len(values) or int(values.view(np.uint32).max()) < end


def check_blocks(kv: KVView, segments: Sequence[Segment], window: int | None) -> None:
    """ValueError unless the tables lead to blocks for all that the segments' rows see through `window`."""
    for segment, table in zip(segments, kv.tables, strict=True):
        first = segment.first(segment.start, window)
        end = -(-(segment.start + segment.length) // kv.block_size)
        used = table[first // kv.block_size : end]
        if len(table) < end or not all_below(used, len(kv.keys)):
            raise ValueError(f"the block table of {segment} does not lead to the cache's blocks")


def _seeing_all(positions: I32, segments: Sequence[Segment], window: int) -> I32:
    """Positions from which rows of a prefix see all of it through a window that is shorter: none beyond the window."""
    found = positions.copy()
    for segment in segments:
        rows = found[segment.row : segment.row + max(0, min(segment.length, segment.prefix - segment.start))]
        np.minimum(rows, window - 1, out=rows)
    return found


def _weight(weight: F32 | None, n: int) -> int:
    if weight is not None and weight.shape != (n,):
        raise ValueError(f"a norm of {weight.shape} does not go with rows of {n}")
    return 0 if weight is None else _address(weight)


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
