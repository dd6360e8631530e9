"""Which blocks the running sequences hold, for the one-sequence loop and for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bezel.errors import ContextLengthError
from bezel.generation.stores import BLOCK, Stores
from bezel.kernels.interface import I32, KVView
from bezel.models.interface import CacheSpec


@dataclass
class _Group:
    """Layers that see alike (the same window) share one block table a sequence."""

    window: int | None
    free: list[int]
    tables: dict[int, I32] = field(default_factory=dict)


class Cache:
    """The stores of one model for up to `sequences` sequences of `context` positions each.

    Full layers hold every position; sliding layers give back blocks that have left the window, when the next view
    starts or `trim` says that they have. Pages are taken from the system when first written. `chunk` is the longest
    segment that a view may have.
    """

    def __init__(self, spec: CacheSpec, context: int, sequences: int = 1, chunk: int = 512) -> None:
        self._context = context
        self._chunk = chunk
        blocks = {}
        for window in spec.windows:
            span = context if window is None else min(context, window + chunk + BLOCK)
            blocks[window] = sequences * -(-span // BLOCK)
        self._stores = Stores(spec, blocks)
        self._groups = {window: _Group(window, list(range(count - 1, -1, -1))) for window, count in blocks.items()}

    def begin(self, sequence: int) -> None:
        """Start (or start over) a sequence with nothing cached."""
        self.free(sequence)
        for group in self._groups.values():
            group.tables[sequence] = np.full(-(-self._context // BLOCK), -1, np.int32)

    def free(self, sequence: int) -> None:
        """Give back everything that a sequence holds."""
        for group in self._groups.values():
            table = group.tables.pop(sequence, None)
            if table is not None:
                group.free.extend(int(block) for block in table if block >= 0)

    @property
    def held_bytes(self) -> int:
        """Bytes of the blocks that sequences hold."""
        return sum(
            sum(int((table >= 0).sum()) for table in group.tables.values()) * self._stores.block_bytes(window)
            for window, group in self._groups.items()
        )

    def trim(self, sequence: int, position: int) -> None:
        """Give back what no row at `position` or behind it can see: sliding layers keep a window and part of a block.

        Not before it is sure that the sequence will not be taken back to an earlier position.
        """
        for group in self._groups.values():
            if group.window is not None:
                table = group.tables[sequence]
                left = table[: max(0, position - group.window + 1) // BLOCK]
                group.free.extend(left[left >= 0].tolist())
                left[:] = -1

    def view(self, segments: Sequence[tuple[int, int, int]]) -> _View:
        """Make room for segments (sequence, start, length) and show them, in this order, to a forward pass.

        ContextLengthError where a segment is longer than a chunk or runs past the context.
        """
        for _, start, length in segments:
            if start + length > self._context or length > self._chunk:
                raise ContextLengthError(
                    f"positions {start} to {start + length - 1} do not fit a cache of {self._context} positions "
                    f"filled {self._chunk} at a time"
                )
        for sequence, start, length in segments:
            self.trim(sequence, start)
            for group in self._groups.values():
                _reserve(group, group.tables[sequence], start, length)
        return _View(self, [sequence for sequence, _, _ in segments])


def _reserve(group: _Group, table: I32, start: int, length: int) -> None:
    for index in range(start // BLOCK, (start + length - 1) // BLOCK + 1):
        if table[index] < 0:
            table[index] = group.free.pop()


class _View:
    def __init__(self, cache: Cache, sequences: Sequence[int]) -> None:
        self._stores = cache._stores
        self._tables = {
            window: [group.tables[sequence] for sequence in sequences] for window, group in cache._groups.items()
        }

    @property
    def tables(self) -> Sequence[Sequence[I32]]:
        return list(self._tables.values())

    def layer(self, index: int) -> KVView:
        return self._stores.layer(index, self._tables)
