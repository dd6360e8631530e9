"""What is timed: for every kernel a few calls at true shapes, by the models that need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bezel.kernels.formats import quantize
from bezel.kernels.interface import Access, Format
from bezel.kernels.layout import Matrix
from bezel.kernels.library import Native

POOL_BYTES = 256 << 20


@dataclass(frozen=True)
class Row:
    """One kernel, by whose name `name` begins, at one shape: what to call, bytes that it reads, operations it makes."""

    name: str
    call: Callable[[], object]
    bytes_read: int = 0
    operations: int = 0


def matrices(kernels: Native, format: Format, rows: int, columns: int, access: Access = Access.WHOLE) -> list[Matrix]:
    """Random matrices that together fill the pool."""
    rng = np.random.default_rng(0)
    if format in (Format.Q4_K, Format.Q6_K):
        raw = rng.integers(0, 255, (rows, format.row_bytes(columns)), np.uint8) // 4
    else:
        raw = quantize(format, rng.standard_normal((rows, columns), np.float32))
    found: list[Matrix] = []
    while not found or len(found) * found[0].nbytes < POOL_BYTES:
        found.append(kernels.allocate(format, rows, columns, access))
        kernels.store_rows(found[-1], 0, raw)
    return found
