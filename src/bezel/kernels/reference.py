"""The kernel set in NumPy: the definition that the native library is tested against. Slow on purpose."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bezel.kernels.altup import AltUpReference
from bezel.kernels.conformer import ConformerReference
from bezel.kernels.convolutions import ConvolutionsReference
from bezel.kernels.formats import dequantize, exactly_q8_0, quantize
from bezel.kernels.interface import F32, I32, U8, U32, Access, Format, KVView, Rope, Segment
from bezel.kernels.sparse import SparseReference
from bezel.kernels.tables import TablesReference
from bezel.kernels.towers import TowersReference

GROUP = 32


@dataclass
class Matrix:
    """A weight matrix kept in GGUF's own byte layout: `raw` is [rows, row bytes] uint8."""

    format: Format
    rows: int
    columns: int
    raw: U8

    @property
    def nbytes(self) -> int:
        return int(self.raw.nbytes)


def quantize_activations(x: F32) -> tuple[NDArray[np.int32], F32]:
    """Round [T, n] per group of 32: codes int32 [T, n / 32, 32] in -127 ... 127, scales float32 [T, n / 32]."""
    groups = x.reshape(len(x), -1, GROUP)
    largest = np.abs(groups).max(axis=2)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(groups * inverse[..., None]).astype(np.int32), largest / np.float32(127)


def rounded_rows(x: F32) -> tuple[NDArray[np.int64], F32]:
    """Round each row of [R, n] to int8 by its largest magnitude: codes int64 [R, n], scales float32 [R]."""
    largest = np.abs(x).max(axis=1)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(x * inverse[:, None]).astype(np.int64), largest / np.float32(127)


def pair_dots(weights: F32, x: F32) -> F32:
    """x [T, n] @ weights.T for BF16 weights [rows, n], as sets with dot products of BF16 make it: [T, rows].

    x rounded to BF16 meets the weights in float32. What that leaves of x, and the weights once more, are rounded to
    int8 by the largest of each row, and their dot is exact.
    """
    high = dequantize(Format.BF16, quantize(Format.BF16, x), x.shape[1])
    rest_codes, rest_scales = rounded_rows(x - high)
    codes, scales = rounded_rows(weights)
    dots = (rest_codes @ codes.T).astype(np.float32)
    return np.stack([weights @ row for row in high]) + dots * (rest_scales[:, None] * scales)


def weight_codes(matrix: Matrix) -> tuple[NDArray[np.int32], F32]:
    """Q4_0, Q5_0 or Q8_0 codes int32 [rows, groups, 32] and scales float32 [rows, groups]."""
    blocks = exactly_q8_0(matrix.format, matrix.raw, matrix.columns).reshape(matrix.rows, -1, Format.Q8_0.block_bytes)
    scales = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)[..., 0]
    return np.ascontiguousarray(blocks[..., 2:]).view(np.int8).astype(np.int32), scales


HALF_MOST = 65504.0
_CACHE_LIMITS = {Format.F32: np.inf, Format.F16: HALF_MOST, Format.Q8_0: 127 * HALF_MOST}


def _narrow(kv: KVView, x: F32) -> NDArray[Any]:
    """Round float32 [positions, kv_heads, head_dim] to what the cache keeps of it."""
    limit = np.float32(_CACHE_LIMITS[kv.format])
    rows = np.clip(x, -limit, limit).reshape(-1, x.shape[2])
    kept: NDArray[Any] = quantize(kv.format, rows).view(kv.keys.dtype).reshape(len(x), *kv.keys.shape[2:])
    return kept


def _widen(kv: KVView, cached: NDArray[Any]) -> F32:
    """What the cache keeps, [positions, kv_heads, width], as float32 [positions, kv_heads, head_dim]."""
    raw = np.ascontiguousarray(cached).view(np.uint8).reshape(len(cached) * cached.shape[1], -1)
    return dequantize(kv.format, raw, kv.head_dim).reshape(*cached.shape[:2], kv.head_dim)


class Reference(
    AltUpReference, ConformerReference, ConvolutionsReference, SparseReference, TablesReference, TowersReference
):
    """Implements `Kernels`; see there for what each method promises."""

    name = "reference"

    def allocate(self, format: Format, rows: int, columns: int, access: Access = Access.WHOLE) -> Matrix:
        return Matrix(format, rows, columns, np.zeros((rows, format.row_bytes(columns)), np.uint8))

    def store_rows(self, matrix: Matrix, first_row: int, raw: U8) -> None:
        matrix.raw[first_row : first_row + len(raw)] = raw

    def load_rows(self, matrix: Matrix, first_row: int, count: int, file: int, offset: int) -> None:
        raw = os.pread(file, count * matrix.raw.shape[1], offset)
        if len(raw) < count * matrix.raw.shape[1]:
            raise EOFError
        self.store_rows(matrix, first_row, np.frombuffer(raw, np.uint8).reshape(count, -1))

    def linear(self, matrix: Matrix, x: F32) -> F32:
        if matrix.format not in (Format.Q4_0, Format.Q5_0, Format.Q8_0):
            weights = dequantize(matrix.format, matrix.raw, matrix.columns)
            if matrix.format not in (Format.F32, Format.F16, Format.BF16):
                x_codes, x_scales = quantize_activations(x)
                x = (x_codes.astype(np.float32) * x_scales[..., None]).reshape(x.shape)
            return np.stack([weights @ row for row in x]) if len(x) else np.zeros((0, matrix.rows), np.float32)
        codes, scales = weight_codes(matrix)
        x_codes, x_scales = quantize_activations(x)
        out = np.zeros((len(x), matrix.rows), np.float32)
        for group in range(codes.shape[1]):
            dots = x_codes[:, group] @ codes[:, group].T
            out += dots.astype(np.float32) * (x_scales[:, group, None] * scales[None, :, group])
        return out

    def embed(self, matrix: Matrix, ids: I32, scale: float) -> F32:
        return dequantize(matrix.format, matrix.raw[ids], matrix.columns) * np.float32(scale)

    def rows(self, x: F32, index: I32) -> F32:
        return x[index]

    def picked(self, positions: I32, index: I32) -> I32:
        return positions[index]

    def rms_norm(self, x: F32, weight: F32 | None, eps: float) -> F32:
        normed: F32 = x / np.sqrt((x * x).mean(axis=-1, keepdims=True, dtype=np.float32) + np.float32(eps))
        return normed if weight is None else normed * weight

    def add_norm(self, residual: F32, x: F32, weight: F32 | None, eps: float) -> None:
        residual += x if weight is None else self.rms_norm(x, weight, eps)

    def norm_rope(self, x: F32, weight: F32 | None, eps: float, rope: Rope, positions: I32) -> None:
        if weight is not None:
            x[...] = self.rms_norm(x, weight, eps)
        half = x.shape[-1] // 2
        cos, sin = rope.cos[positions][:, None], rope.sin[positions][:, None]
        first, second = x[..., :half].copy(), x[..., half:].copy()
        x[..., :half] = first * cos - second * sin
        x[..., half:] = second * cos + first * sin

    def write_cache(self, k: F32, v: F32, kv: KVView, segments: Sequence[Segment]) -> None:
        for segment, table in zip(segments, kv.tables, strict=True):
            positions = np.arange(segment.start, segment.start + segment.length)
            blocks, slots = table[positions // kv.block_size], positions % kv.block_size
            rows = slice(segment.row, segment.row + segment.length)
            kv.keys[blocks, slots] = _narrow(kv, k[rows])
            kv.values[blocks, slots] = _narrow(kv, v[rows])

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
        if index is not None:
            everything = np.zeros((sum(segment.length for segment in segments), *q.shape[1:]), np.float32)
            everything[index] = q
            return self.attention(everything, kv, segments, scale, window, soft_cap)[index]
        tokens, heads, head_dim = q.shape
        shared = heads // kv.keys.shape[2]
        out = np.empty((tokens, heads, head_dim), np.float32)
        for segment, table in zip(segments, kv.tables, strict=True):
            for i, last in enumerate(segment.lasts(window).tolist()):
                first = segment.first(segment.start + i, window)
                seen = np.arange(first, last + 1)
                blocks, slots = table[seen // kv.block_size], seen % kv.block_size
                keys = np.repeat(_widen(kv, kv.keys[blocks, slots]), shared, axis=1)
                values = np.repeat(_widen(kv, kv.values[blocks, slots]), shared, axis=1)
                scores = np.einsum("hd,shd->hs", q[segment.row + i], keys) * np.float32(scale)
                if soft_cap is not None:
                    self.soft_cap(scores, soft_cap)
                weights = np.exp(scores - scores.max(axis=1, keepdims=True))
                weights /= weights.sum(axis=1, keepdims=True)
                out[segment.row + i] = np.einsum("hs,shd->hd", weights, values)
        return out.reshape(tokens, heads * head_dim)

    def geglu(self, gate_up: F32) -> F32:
        n = gate_up.shape[1] // 2
        gate, up = gate_up[:, :n], gate_up[:, n:]
        inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate * gate * gate)
        return np.asarray(0.5 * gate * (1 + np.tanh(inner)) * up, np.float32)

    def soft_cap(self, x: F32, cap: float) -> None:
        np.multiply(np.tanh(x / np.float32(cap)), np.float32(cap), out=x)

    def log_sum_exp(self, x: F32) -> float:
        top = float(x.max())
        return top + math.log(float(np.exp(x.astype(np.float64) - top).sum()))

    def largest(self, x: F32, count: int) -> I32:
        return np.argsort(-x, kind="stable")[:count].astype(np.int32)

    def masked(self, x: F32, allowed: U32) -> F32:
        bits = np.unpackbits(allowed.view(np.uint8), bitorder="little")[: len(x)]
        return np.where(bits == 1, x, np.float32(-np.inf))
