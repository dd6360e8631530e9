"""How many answers of a model are produced at once, and who waits for it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from bezel.service.errors import ApiError


class Lanes:
    """At most `width` answers at once; at most `most` requests wait, first come first served, for `seconds` each.

    A request with several answers takes as many lanes, all at once.
    """

    def __init__(self, width: int, most: int, seconds: float) -> None:
        self.width, self._most, self._seconds = width, most, seconds
        self._free = width
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._mean = 1.0  # seconds for which a lane was held, of late

    def set(self, most: int, seconds: float) -> None:
        """Let others wait than now, for another time; those who wait already go on."""
        self._most, self._seconds = most, seconds

    @property
    def running(self) -> int:
        """Lanes that are taken."""
        return self.width - self._free

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def open(self) -> bool:
        """Whether a request would be taken."""
        return self._free > 0 or len(self._waiting) < self._most

    def check(self, count: int) -> None:
        """ApiError "invalid" where there could never be so many lanes."""
        if count > self.width:
            raise ApiError("invalid", f"{count} answers are asked for; at most {self.width} are given at once.", "n")

    async def enter(self, count: int) -> float:
        """Take lanes; when (monotonic). Raises ApiError "full" or "waited"."""
        if self._free >= count and not self._waiting:
            self._free -= count
            return time.monotonic()
        if len(self._waiting) >= self._most:
            raise ApiError("full", headers=self._retry())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (count, turn)
        self._waiting.append(place)
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._seconds)
        except BaseException as error:
            if turn.done():
                self._free += count
            else:
                self._waiting.remove(place)
            self._next()
            if isinstance(error, TimeoutError):
                raise ApiError("waited", headers=self._retry()) from None
            raise
        return time.monotonic()

    def leave(self, count: int, since: float) -> None:
        """Give lanes back that were taken at `since`."""
        self._mean += 0.1 * (time.monotonic() - since - self._mean)
        self._free += count
        self._next()

    def _next(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            count, turn = self._waiting.popleft()
            self._free -= count
            turn.set_result(None)

    def _retry(self) -> dict[str, str]:
        return {"retry-after": str(math.ceil(max(1.0, min(60.0, self._mean * (1 + self.waiting / self.width)))))}
