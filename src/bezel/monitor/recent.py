"""What happened of late: counts and times in a sliding window of slots."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bezel.monitor.sketch import Sketch, Spread, spread

SLOTS = 60
"""A window slides by this part of its width."""


@dataclass
class _Slot:
    """One part of the window; `number` counts slots since the clock began."""

    number: int
    counts: Counter[str] = field(default_factory=Counter)
    times: dict[str, Sketch] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)


class Recent:
    """A window of `seconds` up to now. For one thread: the server's loop. Names are free."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.slot_seconds = seconds / SLOTS
        self._clock, self._began = clock, clock()
        self._slots: deque[_Slot] = deque()

    def count(self, name: str, amount: int = 1) -> None:
        """Something happened `amount` times."""
        self._now().counts[name] += amount

    def time(self, name: str, seconds: float, times: int = 1) -> None:
        """Something took so long, `times` times."""
        self._now().times.setdefault(name, Sketch()).add(seconds, times)

    def level(self, name: str, value: float) -> None:
        """Where something stands now; of a slot the highest is kept."""
        levels = self._now().levels
        levels[name] = max(value, levels.get(name, value))

    def total(self, name: str) -> int:
        """How often in the window."""
        return sum(slot.counts[name] for slot in self._held())

    def spread(self, name: str) -> Spread:
        """How long in the window."""
        return spread(slot.times[name] for slot in self._held() if name in slot.times)

    def per_second(self, name: str, slots: int = SLOTS) -> float:
        """How often a second, over the last `slots` (this one included), or since the clock began."""
        number = self._number()
        found = sum(slot.counts[name] for slot in self._held() if slot.number > number - slots)
        now = self._clock() - self._began
        return found / max(self.slot_seconds, min(now, now - (number - slots + 1) * self.slot_seconds))

    def rates(self, name: str) -> list[float]:
        """How often a second in each slot that is over, the oldest first."""
        return [0.0 if slot is None else slot.counts[name] / self.slot_seconds for slot in self._past()]

    def p95s(self, name: str) -> list[float | None]:
        """p95 of the times in each slot that is over, None where there are none."""
        return [None if slot is None else spread([slot.times.get(name, Sketch())]).p95 for slot in self._past()]

    def levels(self, name: str) -> list[float | None]:
        """The highest level in each slot that is over, None where it was not looked at."""
        return [None if slot is None else slot.levels.get(name) for slot in self._past()]

    def _number(self) -> int:
        return int((self._clock() - self._began) / self.slot_seconds)

    def _held(self) -> deque[_Slot]:
        oldest = self._number() - SLOTS
        while self._slots and self._slots[0].number <= oldest:
            self._slots.popleft()
        return self._slots

    def _now(self) -> _Slot:
        held, number = self._held(), self._number()
        if not held or held[-1].number != number:
            held.append(_Slot(number))
        return held[-1]

    def _past(self) -> list[_Slot | None]:
        slots = {slot.number: slot for slot in self._held()}
        number = self._number()
        return [slots.get(each) for each in range(number - SLOTS + 1, number)]
