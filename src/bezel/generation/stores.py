"""Keys and values of every layer, in blocks, built from what a model declares. Tables tell who holds which block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bezel.kernels.interface import CACHE_FORMATS, I32, KVView, cache_width
from bezel.models.interface import CacheSpec

BLOCK = 32
"""Positions in a block."""


class Stores:
    """Arrays for `blocks[window]` blocks in every layer with that window (None: full attention).

    Layers that share another's keys and values own nothing. Pages are taken from the system when first written.
    Elements are kept in the spec's format.
    """

    def __init__(self, spec: CacheSpec, blocks: Mapping[int | None, int]) -> None:
        self._spec = spec
        self._arrays: dict[int, tuple[Any, Any]] = {}
        for index, layer in enumerate(spec.layers):
            if layer.shared_with is None:
                width, dtype = cache_width(spec.format, layer.head_dim), CACHE_FORMATS[spec.format]
                shape = (blocks[layer.window], BLOCK, layer.kv_heads, width)
                self._arrays[index] = (np.zeros(shape, dtype), np.zeros(shape, dtype))

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, held or free."""
        return sum(keys.nbytes + values.nbytes for keys, values in self._arrays.values())

    def block_bytes(self, window: int | None) -> int:
        """Bytes of one block in all layers with that window together."""
        return sum(
            keys[0].nbytes + values[0].nbytes
            for index, (keys, values) in self._arrays.items()
            if self._spec.layers[index].window == window
        )

    def layer(self, index: int, tables: Mapping[int | None, Sequence[I32]]) -> KVView:
        """What layer `index` reads and writes; `tables[window]` holds one block table a segment."""
        layer = self._spec.layers[index]
        while layer.shared_with is not None:
            index = layer.shared_with
            layer = self._spec.layers[index]
        return KVView(*self._arrays[index], tables[layer.window], self._spec.format)
