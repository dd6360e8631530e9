"""What towers over images need beside products and attention: layer norm, and biases with or without GELU.

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


class TowersNative(Caller):
    """The part of `Kernels` for towers, compiled (native/towers.h)."""

    def layer_norm(self, x: F32, weight: F32, bias: F32, eps: float) -> F32:
        rows, n = x.shape
        _check(x, weight, bias)
        out = self._empty(rows, n)
        self._call("layer_norm", self._at(x), self._at(weight), self._at(bias), rows, n, eps, self._at(out))
        return out

    def add_bias(self, x: F32, bias: F32, gelu: bool = False) -> None:
        _check(x, bias)
        self._call("add_bias", self._at(x), self._at(bias), *x.shape, gelu)


def _check(x: F32, *vectors: F32) -> None:
    if x.ndim != 2 or any(vector.shape != x.shape[1:] for vector in vectors):
        raise ValueError(f"x {x.shape} does not go with vectors of {[vector.shape for vector in vectors]}")
