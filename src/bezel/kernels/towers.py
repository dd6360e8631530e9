"""What towers over images need beside products: layer norm, biases with or without GELU, and full attention.

`TowersReference` defines what `TowersNative` calls; `interface.Kernels` says what each method promises.
"""

from __future__ import annotations

import math

import numpy as np

from bezel.kernels.caller import Caller
from bezel.kernels.interface import F32


class TowersReference:
    """The part of `Kernels` for towers, in NumPy."""

    def layer_norm(self, x: F32, weight: F32, bias: F32, eps: float) -> F32:
        centred = x - x.mean(axis=-1, keepdims=True, dtype=np.float32)
        variance = (centred * centred).mean(axis=-1, keepdims=True, dtype=np.float32)
        normed: F32 = centred / np.sqrt(variance + np.float32(eps)) * weight + bias
        return normed

    def add_bias(self, x: F32, bias: F32, gelu: bool = False) -> None:
        x += bias
        if gelu:
            x[...] = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    def full_attention(self, q: F32, k: F32, v: F32, scale: float) -> F32:
        out = np.empty(q.shape, np.float32)
        for head in range(q.shape[1]):
            scores = q[:, head] @ k[:, head].T * np.float32(scale)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[:, head] = weights @ v[:, head] / weights.sum(axis=1, keepdims=True)
        return out.reshape(len(q), -1)


class TowersNative(Caller):
    """The part of `Kernels` for towers, compiled (native/towers.h and full.h)."""

    def layer_norm(self, x: F32, weight: F32, bias: F32, eps: float) -> F32:
        rows, n = x.shape
        _check(x, weight, bias)
        out = self._empty(rows, n)
        self._call("layer_norm", self._at(x), self._at(weight), self._at(bias), rows, n, eps, self._at(out))
        return out

    def add_bias(self, x: F32, bias: F32, gelu: bool = False) -> None:
        _check(x, bias)
        self._call("add_bias", self._at(x), self._at(bias), *x.shape, gelu)

    def full_attention(self, q: F32, k: F32, v: F32, scale: float) -> F32:
        (q_at, stride), (k_at, k_stride), (v_at, v_stride) = map(self._rows_at, (q, k, v))
        if q.shape[1:] != k.shape[1:] or k.shape != v.shape or not len(k) or k_stride != v_stride:
            raise ValueError(f"q {q.shape}, k {k.shape} and v {v.shape} do not lie alike")
        rows, heads, head_dim = q.shape
        out = self._empty(rows, heads * head_dim)
        if rows:
            sizes = stride, k_stride, rows, len(k), heads, head_dim
            self._call("full_attention", q_at, k_at, v_at, *sizes, scale, self._at(out))
        return out


def _check(x: F32, *vectors: F32) -> None:
    if x.ndim != 2 or any(vector.shape != x.shape[1:] for vector in vectors):
        raise ValueError(f"x {x.shape} does not go with vectors of {[vector.shape for vector in vectors]}")
