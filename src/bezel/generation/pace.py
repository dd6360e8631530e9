"""How many tokens a drafter is asked for: as many as pay, by measured times and acceptance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

_LENGTHS = (1, 2, 4, 8)  # few, since the first pass of each length is recorded, which takes longer
MOST_DRAFT = _LENGTHS[-1]
"""Tokens that are drafted at most before a pass."""
_MEMORY = 8  # drafted tokens over which acceptance is averaged
_TRIAL = 2  # tokens drafted to find out whether drafts have become worth it
_GUESS = 0.25  # of a plain pass: what a further row is thought to cost before any was measured
_LEAST = 0.05  # of a plain pass: what a further row costs at least, whatever a disturbed clock says
_MARGIN = 1.05  # a draft must promise this much over plain decode
_SHARE, _START, _MOST_CREDIT = 0.01, 1.25, 8.0  # of a plain pass: earned by every token, at the start, at most
_SHORTEST_PAUSE, _LONGEST_PAUSE = 8, 1024  # tokens


class Pace:
    """Decides for one answer; times in seconds.

    Losses are paid from a credit that every token earns, so where no draft is ever accepted decoding stays within
    about 2% of plain decode. After drafts that did not pay come pauses, each twice as long as the one before.
    Times steer how much is drafted, never which tokens come out.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = {}
        self._medians: dict[int, float] = {}  # of the last seconds of a pass, by its rows
        self._acceptance = 0.35
        self._credit = _START
        self._choice, self._news = _TRIAL, False
        self._pause, self._next_pause = 0, _SHORTEST_PAUSE

    def length(self, limit: int, drafting: Callable[[int], float]) -> int:
        """Tokens to draft now, from 0 to `limit`; `drafting(k)` is what drafting k tokens is expected to take."""
        if 1 not in self._medians or limit < 1:
            return 0
        if self._news:
            self._decide(drafting)
        if self._pause:
            self._pause -= 1
            return 0
        if self._loss(1, drafting) > self._credit:
            return 0
        most = min(self._choice or _TRIAL, limit)
        return max(n for n in _LENGTHS if n == 1 or (n <= most and self._loss(n, drafting) <= self._credit))

    def record(self, drafted: int, accepted: int, seconds: float, drafting: float) -> None:
        """What came of a pass over 1 + `drafted` rows, and the seconds that it and the drafting took."""
        rows = 1 + drafted
        if rows not in self._seconds:  # the first pass of a shape is recorded, and says little of the next ones
            self._seconds[rows] = deque(maxlen=5)
        else:
            self._seconds[rows].append(seconds)
            self._medians[rows] = sorted(self._seconds[rows])[len(self._seconds[rows]) // 2]
        if 1 not in self._medians:
            return
        plain, produced = self._cost(1), accepted + 1
        self._credit += _SHARE * produced - drafting / plain
        if drafted:
            least, most = plain * (1 + _LEAST * drafted), 4 * self._cost(rows)
            self._credit += produced - min(max(seconds, least), most) / plain
            for place in range(min(accepted + 1, drafted)):
                self._acceptance += ((place < accepted) - self._acceptance) / _MEMORY
            self._news = True
        self._credit = min(self._credit, _MOST_CREDIT)

    def _decide(self, drafting: Callable[[int], float]) -> None:
        self._news = False
        self._choice = self._best(drafting)
        if self._choice:
            self._next_pause = _SHORTEST_PAUSE
        else:
            self._pause, self._next_pause = self._next_pause, min(2 * self._next_pause, _LONGEST_PAUSE)

    def _best(self, drafting: Callable[[int], float]) -> int:
        """The length that promises most tokens a second; 0 where none is worth it."""
        ready, best, most = drafting(0), 0, _MARGIN / self._cost(1)
        for length in _LENGTHS:
            tokens = sum(self._acceptance**place for place in range(length + 1))
            speed = tokens / (self._cost(1 + length) + drafting(length) - ready)
            if speed > most:
                best, most = length, speed
        return best

    def _loss(self, length: int, drafting: Callable[[int], float]) -> float:
        """Plain passes that a draft costs if none of it is accepted."""
        recording = 1 + length not in self._seconds
        return (self._cost(1 + length) + drafting(length)) / self._cost(1) - 1 + recording

    def _cost(self, rows: int) -> float:
        """Seconds of a pass over `rows` rows; where it was never measured, by those that were."""
        plain = self._medians[1]
        if rows in self._medians:
            return max(self._medians[rows], plain * (1 + _LEAST * (rows - 1)))
        near = min(self._medians, key=lambda known: (known == 1, abs(known - rows)))
        if near == 1:
            return plain * (1 + _GUESS * (rows - 1))
        return plain + (self._cost(near) - plain) * (rows - 1) / (near - 1)
