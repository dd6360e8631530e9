"""From the rows of a text to its embedding, as EmbeddingGemma does it: their mean, two products, and unit length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bezel.kernels.interface import F32


class Pooling:
    """`dense` are matrices [out, in] of the products behind the mean, first to last; there may be none."""

    def __init__(self, dense: Sequence[F32]) -> None:
        self._dense = dense

    @property
    def size(self) -> int | None:
        """Numbers of an embedding; None where it has the width of a row."""
        return len(self._dense[-1]) if self._dense else None

    def __call__(self, rows: F32, dimensions: int | None = None) -> F32:
        """Rows [T, hidden] of one text -> [size], of length 1.

        With `dimensions` the first of them alone, brought to length 1 again (Matryoshka, Kusupati et al. 2022).
        """
        found = rows.mean(axis=0, dtype=np.float32)
        for matrix in self._dense:
            found = matrix @ found
        found = found if dimensions is None else found[:dimensions]
        whole: F32 = found / max(float(np.linalg.norm(found)), 1e-12)
        return whole
