"""Rotary position tables (Su et al. 2021), shared by every family."""

from __future__ import annotations

import numpy as np

from bezel.kernels.interface import Rope


def rope_table(positions: int, head_dim: int, theta: float, factor: float = 1.0) -> Rope:
    """Cosines and sines of p / factor * theta^(-2i / head_dim): two of [positions, head_dim / 2] float32.

    `factor` is linear position scaling (Chen et al. 2023), as the global layers of Gemma 3 4B and up use it.
    """
    frequencies = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim) / factor
    angles = np.arange(positions, dtype=np.float64)[:, None] * frequencies
    return Rope(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
