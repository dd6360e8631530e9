"""Rotary position tables (Su et al. 2021), shared by every family."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bezel.kernels.interface import I32, Rope

_AT_ONCE = 512


class RopeTable:
    """Cosines and sines of p / factor * theta^(-2i / head_dim): two of [positions, head_dim / 2] float32 in `rope`.

    `factor` is linear position scaling (Chen et al. 2023), as the global layers of Gemma 3 4B and up use it. Rows are
    computed when a batch first reaches them: those of 131,072 positions are 134 MB, and few requests go that far.
    """

    def __init__(self, positions: int, head_dim: int, theta: float, factor: float = 1.0) -> None:
        self._frequencies = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim) / factor
        self._ready = 0
        shape = positions, len(self._frequencies)
        self.rope = Rope(np.empty(shape, np.float32), np.empty(shape, np.float32))

    def reach(self, positions: int) -> None:
        """Make sure of the first `positions` rows, or of all that there are."""
        total = len(self.rope.cos)
        while self._ready < min(positions, total):
            first, end = self._ready, min(self._ready + _AT_ONCE, total)
            angles = np.arange(first, end, dtype=np.float64)[:, None] * self._frequencies
            self.rope.cos[first:end] = np.cos(angles)
            self.rope.sin[first:end] = np.sin(angles)
            self._ready = end


def reach(tables: Iterable[RopeTable], positions: I32) -> None:
    """Make sure of the rows of `positions` [T], T at least 1, in every table."""
    last = int(positions.max())
    for table in tables:
        table.reach(last + 1)
