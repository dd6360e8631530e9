"""GGUF's tensor formats in NumPy: bytes to float32 and back, bit for bit as ggml defines them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bezel.errors import UnsupportedModelError
from bezel.kernels.interface import F32, U8, Format


def dequantize(format: Format, raw: U8, columns: int) -> F32:
    """Widen rows: uint8 [n, format.row_bytes(columns)] -> float32 [n, columns]."""
    rows = len(raw)
    if raw.shape[1] != format.row_bytes(columns):
        raise ValueError(f"{raw.shape[1]} bytes a row; {columns} columns of {format.name} take others")
    if format is Format.F32:
        return np.ascontiguousarray(raw).view("<f4").astype(np.float32)
    if format is Format.F16:
        return np.ascontiguousarray(raw).view("<f2").astype(np.float32)
    if format is Format.BF16:
        widened: F32 = (np.ascontiguousarray(raw).view("<u2").astype(np.uint32) << 16).view(np.float32)
        return widened
    blocks = np.ascontiguousarray(raw).reshape(-1, format.block_bytes)
    widen = {
        Format.Q4_0: _widen_q4_0,
        Format.Q5_0: lambda blocks: _widen_q8_0(_q5_0_as_q8_0(blocks)),
        Format.Q8_0: _widen_q8_0,
        Format.Q4_K: _widen_q4_k,
        Format.Q5_K: _widen_q5_k,
        Format.Q6_K: _widen_q6_k,
    }[format]
    return widen(blocks).reshape(rows, columns)


def _half(blocks: U8, offset: int) -> F32:
    """The float16 at `offset` of each block, as float32 [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, offset : offset + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: U8) -> U8:
    """[..., n] bytes -> [..., 2, n]: low halves, then high halves."""
    return np.stack([packed & 15, packed >> 4], axis=-2)


def _widen_q4_0(blocks: U8) -> F32:
    values = _nibbles(blocks[:, 2:]).reshape(-1, 32).astype(np.float32) - np.float32(8)
    return values * _half(blocks, 0)


def _widen_q8_0(blocks: U8) -> F32:
    return np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float32) * _half(blocks, 0)


def exactly_q8_0(format: Format, raw: U8, columns: int) -> U8:
    """Q4_0, Q5_0 or Q8_0 rows as Q8_0 rows of the same values: the scales stay, the codes fit."""
    blocks = np.ascontiguousarray(raw).reshape(-1, format.block_bytes)
    if format is Format.Q4_0:
        codes = (_nibbles(blocks[:, 2:]).reshape(-1, 32) - np.uint8(8)).view(np.uint8)
        blocks = np.concatenate([blocks[:, :2], codes], axis=1)
    elif format is Format.Q5_0:
        blocks = _q5_0_as_q8_0(blocks)
    elif format is not Format.Q8_0:
        raise ValueError(f"{format.name} has no exact form in Q8_0")
    return blocks.reshape(len(raw), Format.Q8_0.row_bytes(columns))


def _q5_0_as_q8_0(blocks: U8) -> U8:
    """The fifth bits lie in four bytes of their own, lowest first; codes are shifted by 16."""
    fifth = np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little")
    codes = (_nibbles(blocks[:, 6:]).reshape(-1, 32) | fifth << 4) - np.uint8(16)
    return np.concatenate([blocks[:, :2], codes], axis=1)


def _scales_and_minima(packed: U8) -> tuple[F32, F32]:
    """The eight 6-bit scales and minima of a K block, from 12 bytes: two of [blocks, 8, 1] float32."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6 << 4)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | (second >> 6 << 4)], axis=1)
    return scales.astype(np.float32)[..., None], minima.astype(np.float32)[..., None]


def _scale_k(blocks: U8, values: F32) -> F32:
    """d * scale * value - dmin * minimum, over eight groups of 32: values [blocks, 8, 32]."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    return (_half(blocks, 0)[..., None] * scales) * values - _half(blocks, 2)[..., None] * minima


def _widen_q4_k(blocks: U8) -> F32:
    values = _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return _scale_k(blocks, values.astype(np.float32))


def _widen_q5_k(blocks: U8) -> F32:
    low = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    fifth = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None]) & 1
    return _scale_k(blocks, (low | (fifth << 4)).astype(np.float32))


def _widen_q6_k(blocks: U8) -> F32:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & 3
    values = (low | (high << 4)).astype(np.float32) - np.float32(32)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    return (_half(blocks, 208) * scales)[..., None] * values.reshape(-1, 16, 16)


def quantize(format: Format, x: F32) -> U8:
    """Round float32 [n, columns] to F32, F16, BF16, Q4_0 or Q8_0 rows: uint8 [n, row bytes].

    Scales are found in float32 and stored as float16. UnsupportedModelError for Q5_0 and the K formats, which
    are read and never written; ValueError where 32 does not divide the columns.
    """
    rows, columns = x.shape
    size = format.row_bytes(columns)
    x = np.ascontiguousarray(x, np.float32)
    if format is Format.F32:
        return x.view(np.uint8)
    if format is Format.F16:
        return x.astype("<f2").view(np.uint8)
    if format is Format.BF16:
        return _to_bf16(x).view(np.uint8)
    if format is Format.Q4_0:
        return _round_q4_0(x.reshape(-1, 32)).reshape(rows, size)
    if format is Format.Q8_0:
        return _round_q8_0(x.reshape(-1, 32)).reshape(rows, size)
    raise UnsupportedModelError(f"{format.name} can be read and not written; choose Q4_0, Q8_0 or BF16")


def _to_bf16(x: F32) -> NDArray[np.uint16]:
    """Round to nearest even; a NaN stays a NaN."""
    bits = x.view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return np.where(np.isnan(x), (bits >> 16) | 64, rounded).astype("<u2")


def _inverse(scale: F32) -> F32:
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)


def _round_q4_0(groups: F32) -> U8:
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=1)[:, None], axis=1)
    scale = largest / np.float32(-8)
    codes = np.minimum((groups * _inverse(scale) + np.float32(8.5)).astype(np.uint8), 15)
    return np.concatenate([scale.astype("<f2").view(np.uint8), codes[:, :16] | (codes[:, 16:] << 4)], axis=1)


def _round_q8_0(groups: F32) -> U8:
    scale = np.abs(groups).max(axis=1, keepdims=True) / np.float32(127)
    scaled = groups * _inverse(scale)
    whole = np.trunc(scaled)
    codes = (whole + np.trunc(np.float32(2) * (scaled - whole))).astype(np.int8)
    return np.concatenate([scale.astype("<f2").view(np.uint8), codes.view(np.uint8)], axis=1)
