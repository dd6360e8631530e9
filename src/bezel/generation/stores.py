"""Keys and values of every layer, in blocks, built from what a model declares; tables tell who holds which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bezel.kernels.interface import F32, I32, KVView
from bezel.models.interface import CacheSpec

BLOCK = 32
"""Positions in a block."""


class Stores:
    """Arrays for `blocks[window]` blocks in every layer with that window (None: full attention).

    Layers that share another's keys and values own nothing. Pages are taken from the system when first written.
    """

    def __init__(self, spec: CacheSpec, blocks: Mapping[int | None, int]) -> None:
        self._spec = spec
        self._arrays: dict[int, tuple[F32, F32]] = {}
        for index, layer in enumerate(spec.layers):
            if layer.shared_with is None:
                shape = (blocks[layer.window], BLOCK, layer.kv_heads, layer.head_dim)
                self._arrays[index] = (np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, held or free."""
        return sum(keys.nbytes + values.nbytes for keys, values in self._arrays.values())

    def layer(self, index: int, tables: Mapping[int | None, Sequence[I32]]) -> KVView:
        """What layer `index` reads and writes; `tables[window]` holds one block table a segment."""
        layer = self._spec.layers[index]
        while layer.shared_with is not None:
            index = layer.shared_with
            layer = self._spec.layers[index]
        return KVView(*self._arrays[index], tables[layer.window])
