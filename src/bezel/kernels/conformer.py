"""What a conformer over sounds needs beside norms and products. All rows of a call are of one sequence, from its start.

`ConformerReference` defines what `ConformerNative` calls; `interface.Kernels` says what each method promises.
"""

from __future__ import annotations

import numpy as np

from bezel.kernels.caller import Caller
from bezel.kernels.interface import F32, F64


class ConformerReference:
    """The part of `Kernels` for conformers, in NumPy."""

    def clip(self, x: F32, limit: float) -> F32:
        return np.clip(x, np.float32(-limit), np.float32(limit))

    def silu(self, x: F32) -> None:
        x *= _sigmoid(x)

    def glu(self, x: F32) -> F32:
        values, gates = np.split(x, 2, axis=1)
        return np.asarray(values * _sigmoid(gates), np.float32)

    def cumulative_norm(self, x: F32, weight: F32, eps: float, sums: F64) -> None:
        rows, n = x.shape
        if not rows:
            return
        elements = (sums[0] + np.arange(1, rows + 1)) * n
        totals = sums[1] + np.cumsum(x.sum(axis=1), dtype=np.float64)
        centred = x - (totals / elements).astype(np.float32)[:, None]
        squares = sums[2] + np.cumsum((centred * centred).sum(axis=1), dtype=np.float64)
        scale = 1 / np.sqrt((squares / elements).astype(np.float32) + np.float32(eps))
        x[...] = np.maximum(centred * scale[:, None] * np.tile(weight, n // len(weight)), 0)
        sums[:] = sums[0] + rows, totals[-1], squares[-1]

    def causal_conv(self, x: F32, weight: F32) -> F32:
        taps, n = weight.shape
        padded = np.concatenate([np.zeros((taps - 1, n), np.float32), x])
        parts = [weight[tap] * padded[tap : tap + len(x)] for tap in range(taps)]
        return np.asarray(np.sum(parts, axis=0), np.float32)

    def local_attention(self, q: F32, k: F32, v: F32, positions: F32, scale: F32, right: int, soft_cap: float) -> F32:
        left = len(positions) - 1 - right
        out = np.empty(q.shape, np.float32)
        for row in range(len(q)):
            first, end = max(0, row - left), min(len(q), row + right + 1)
            keys = k[first:end] + positions[first - row + left : end - row + left]
            scores = np.einsum("hd,shd->hs", q[row] * scale, keys)
            scores = np.tanh(scores / np.float32(soft_cap)) * np.float32(soft_cap)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[row] = np.einsum("hs,shd->hd", weights / weights.sum(axis=1, keepdims=True), v[first:end])
        return out.reshape(len(q), -1)


def _sigmoid(x: F32) -> F32:
    return np.asarray(1 / (1 + np.exp(-np.maximum(x, np.float32(-88)))), np.float32)


class ConformerNative(Caller):
    """The part of `Kernels` for conformers, compiled (native/conformer.h)."""

    def clip(self, x: F32, limit: float) -> F32:
        out = self._empty(*x.shape)
        self._call("clip", self._at(x), x.size, limit, self._at(out))
        return out

    def silu(self, x: F32) -> None:
        self._call("silu", self._at(x), x.size)

    def glu(self, x: F32) -> F32:
        rows, both = x.shape
        out = self._empty(rows, both // 2)
        self._call("glu", self._at(x), rows, both // 2, self._at(out))
        return out

    def cumulative_norm(self, x: F32, weight: F32, eps: float, sums: F64) -> None:
        if x.shape[1] % len(weight) or sums.shape != (3,):
            raise ValueError(f"x {x.shape} does not go with {weight.shape} weights and sums of {sums.shape}")
        at = self._at(x), self._at(weight)
        self._call("cumulative_norm", *at, *x.shape, len(weight), eps, self._at(sums, np.float64))

    def causal_conv(self, x: F32, weight: F32) -> F32:
        rows, n = x.shape
        if weight.shape[1:] != (n,):
            raise ValueError(f"x {x.shape} does not go with taps of {weight.shape}")
        out = self._empty(rows, n)
        self._call("causal_conv", self._at(x), self._at(weight), rows, n, len(weight), self._at(out))
        return out

    def local_attention(self, q: F32, k: F32, v: F32, positions: F32, scale: F32, right: int, soft_cap: float) -> F32:
        (q_at, stride), (k_at, k_stride), (v_at, v_stride) = map(self._rows_at, (q, k, v))
        if not q.shape == k.shape == v.shape or not stride == k_stride == v_stride:
            raise ValueError(f"q {q.shape}, k {k.shape} and v {v.shape} do not lie alike")
        rows, heads, head_dim = q.shape
        left = len(positions) - 1 - right
        if positions.shape[1:] != (heads, head_dim) or scale.shape != (head_dim,) or min(left, right) < 0:
            raise ValueError(f"q {q.shape} does not go with positions {positions.shape} and {right} to the right")
        out = self._empty(rows, heads * head_dim)
        if rows:
            near = self._at(positions), self._at(scale), left, right, soft_cap
            self._call("local_attention", q_at, k_at, v_at, stride, rows, heads, head_dim, *near, self._at(out))
        return out
