"""Calls of the compiled kernels written down once and made again natively, without Python between them."""

from __future__ import annotations

import ctypes
import math
import struct
import weakref
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32

READ_AHEAD = 256 << 10
"""Bytes of a matrix that are fetched while the calls before it leave threads without work; they stay in L2."""
_UNREADABLE = 2  # as native/table.c returns it


def raise_for(failure: int, what: str) -> None:
    """The error that a kernel's result stands for, if any: MemoryError or ModelFileError."""
    if failure == _UNREADABLE:
        raise ModelFileError("a table on disk cannot be read any more: its file has changed; load the model again")
    if failure:
        raise MemoryError(f"no memory for {what}")


class Tape:
    """A list of kernel calls on fixed addresses.

    Results live in buffers of the tape. A buffer is used again once the array that was in it is gone, in a replay at
    the same places as in the recording; so arrays must be dropped in the recording as soon as they are not needed.
    """

    def __init__(self, replay: Any) -> None:
        self._replay = replay
        self._calls: list[tuple[Any, bytes]] = []
        self._reads: list[tuple[int, int]] = []
        self._whole = b""
        self._buffers: list[Any] = []
        self._free: dict[int, list[Any]] = {}

    def add(self, function: Any, arguments: bytes, reads: tuple[int, int] = (0, 0)) -> None:
        """Write down one call. `reads`: address and bytes of the weights in it that are worth fetching beforehand."""
        self._calls.append((function, arguments))
        self._reads.append(reads)

    def empty(self, shape: tuple[int, ...]) -> F32:
        """An array for a kernel's result, in a buffer of the tape that is free."""
        size = max(1, math.prod(shape))
        free = self._free.setdefault(size, [])
        if free:
            buffer = free.pop()
        else:
            buffer = np.empty(size, np.float32)
            self._buffers.append(buffer)
        owner = np.frombuffer(memoryview(buffer), np.float32, math.prod(shape))
        # Every view of `owner` holds it, so it goes when the last of them does.
        weakref.finalize(owner, free.append, buffer).atexit = False
        array: F32 = owner.reshape(shape)
        return array

    def replay(self) -> None:
        """Make all calls again. Raises as `raise_for` does."""
        if not self._whole:
            self._whole = self._program()
        raise_for(self._replay(self._whole, len(self._calls)), "a step's kernels")

    def _program(self) -> bytes:
        """All calls as `bezel_replay` takes them, each with what the next one that reads weights begins with."""
        parts = []
        address = size = 0
        for (function, arguments), reads in zip(reversed(self._calls), reversed(self._reads), strict=True):
            called = ctypes.cast(function, ctypes.c_void_p).value
            parts.append(struct.pack("qPPq", len(arguments) // 8, called, address, size) + arguments)
            if reads[1]:
                address, size = reads[0], min(reads[1], READ_AHEAD)
        return b"".join(reversed(parts))
