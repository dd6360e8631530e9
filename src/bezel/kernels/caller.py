"""What the parts of the compiled kernel set have of it: making a call, and arrays for results."""

from __future__ import annotations

from typing import Any

import numpy as np

from bezel.kernels.interface import F32


class Caller:
    """Implemented by `library.Native`."""

    def _call(self, name: str, *arguments: float) -> None:
        """Make a call, and write it down where a tape records."""
        raise NotImplementedError

    def _empty(self, *shape: int) -> F32:
        """An array for a result; the tape's own where one records."""
        raise NotImplementedError

    def _at(self, array: Any, dtype: Any = np.float32) -> int:
        """The address of a contiguous array; ValueError for any other."""
        raise NotImplementedError

    def _rows_at(self, array: Any) -> tuple[int, int]:
        """Address and row stride, in elements, of float32 [T, heads, head_dim] whose rows alone may lie apart."""
        raise NotImplementedError
