"""Sliding windows of a minute: how much was taken in them, counted by this process alone."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol

MINUTE = 60.0


@dataclass(frozen=True)
class Window:
    """Where a sliding window stands: counts of the minute before and of this one, which ends in `left` seconds."""

    limit: int
    before: int
    now: int
    left: float

    @property
    def remaining(self) -> int:
        """What is left of the limit."""
        return max(0, self.limit - math.floor(self.before * self.left / MINUTE + self.now))

    def wait(self, cost: int) -> float:
        """Seconds after which `cost` more fits if nothing else comes: the weighted count's whole part and it do."""
        if self.now + cost <= self.limit:
            room = self.limit - cost + 1 - self.now
            return max(0.0, self.left - room * MINUTE / self.before) if self.before else 0.0
        return self.left + MINUTE * max(0.0, 1 - (self.limit - cost + 1) / self.now)

    @property
    def reset(self) -> float:
        """Seconds until all of the limit is there again, if nothing else comes."""
        return self.left + MINUTE if self.now else self.left if self.before else 0.0


@dataclass(frozen=True)
class Taken:
    """What came of taking: whether there was room, how the window stands behind it, and the number of its minute."""

    allowed: bool
    window: Window
    minute: int


class Store(Protocol):
    """Counts by name. Each call is one step that no other comes between.

    Raises ApiError "uncounted" where the counts cannot be reached.
    """

    async def take(self, name: str, limit: int, cost: int) -> Taken:
        """Count `cost`, where it fits below `limit` with what was taken in the last minute."""

    async def give_back(self, name: str, minute: int, count: int) -> None:
        """Take `count` out of a minute's count again, if that minute has not ended: later it would be credit."""

    async def close(self) -> None: ...


@dataclass
class _Counts:
    minute: int
    now: int = 0
    before: int = 0


class Memory:
    """A `Store` for one process."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}
        self._minute = 0

    async def take(self, name: str, limit: int, cost: int) -> Taken:
        """See `Store.take`."""
        seconds = time.time()
        minute, left = int(seconds // MINUTE), MINUTE - seconds % MINUTE
        counts = self._at(name, minute)
        allowed = math.floor(counts.before * left / MINUTE + counts.now) + cost <= limit
        if allowed:
            counts.now += cost
        return Taken(allowed, Window(limit, counts.before, counts.now, left), minute)

    async def give_back(self, name: str, minute: int, count: int) -> None:
        """See `Store.give_back`."""
        counts = self._counts.get(name)
        if counts is not None and counts.minute == minute == int(time.time() // MINUTE):
            counts.now -= count

    async def close(self) -> None:
        """Nothing to let go of."""

    def _at(self, name: str, minute: int) -> _Counts:
        if minute != self._minute:
            self._minute = minute
            self._counts = {who: counts for who, counts in self._counts.items() if counts.minute >= minute - 1}
        counts = self._counts.setdefault(name, _Counts(minute))
        if counts.minute != minute:
            before = counts.now if counts.minute == minute - 1 else 0
            counts.minute, counts.now, counts.before = minute, 0, before
        return counts
