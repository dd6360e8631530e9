"""A feed-forward whose gate is cut at a quantile of a normal distribution, so that few of its columns live.

`SparseReference` defines what `SparseNative` calls; `interface.Kernels.sparse_mlp` says what is promised.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bezel.kernels.caller import Caller
from bezel.kernels.interface import F32, Access, Format

SPARSE_FORMATS = (Format.Q4_0, Format.Q8_0)
"""Formats whose rows or columns can be read apart; matrices in others are read whole."""


def cut_gate(gate: F32, multiplier: float) -> F32:
    """max(gate - (mean + multiplier * standard deviation of its row), 0) of [T, n]."""
    mean = gate.mean(axis=1, keepdims=True, dtype=np.float32)
    deviation = np.sqrt(np.square(gate - mean).mean(axis=1, keepdims=True, dtype=np.float32))
    over: F32 = np.maximum(gate - (mean + deviation * np.float32(multiplier)), np.float32(0))
    return over


class SparseReference:
    """The cut feed-forward in NumPy, in which dead columns are computed like all others."""

    def linear(self, matrix: Any, x: F32) -> F32:
        raise NotImplementedError

    def sparse_mlp(self, gate: F32, x: F32, up: Any, down: Any, multiplier: float) -> F32:
        cut = cut_gate(gate, multiplier)
        inner = math.sqrt(2 / math.pi) * (cut + 0.044715 * cut * cut * cut)
        hidden = 0.5 * cut * (1 + np.tanh(inner)) * self.linear(up, x)
        return self.linear(down, np.asarray(hidden, np.float32))


class SparseNative(Caller):
    """The cut feed-forward, compiled (native/sparse.h)."""

    def linear(self, matrix: Any, x: F32) -> F32:
        raise NotImplementedError

    def sparse_mlp(self, gate: F32, x: F32, up: Any, down: Any, multiplier: float) -> F32:
        tokens, inner = gate.shape
        hidden = x.shape[1]
        if len(x) != tokens or (up.rows, up.columns) != (inner, hidden) or (down.rows, down.columns) != (hidden, inner):
            raise ValueError(
                f"a gate of {gate.shape}, x {x.shape} and matrices of {up.rows} and {down.rows} rows differ"
            )
        if (up.access, down.access) != (Access.ROWS, Access.COLUMNS):
            both = self._empty(tokens, inner)
            over = self.linear(up, x)
            self._call("cut_geglu", self._at(gate), self._at(over), tokens, inner, multiplier, self._at(both))
            return self.linear(down, both)
        out = self._empty(tokens, hidden)
        self._call(
            "sparse_mlp",
            self._at(gate),
            self._at(x),
            tokens,
            hidden,
            inner,
            up.format.type_id,
            self._at(up.data, np.uint8),
            down.format.type_id,
            self._at(down.data, np.uint8),
            multiplier,
            self._at(out),
        )
        return out
