"""Work on a model that is no stream: on a lane, within the budget, and stopped when nobody waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Protocol, TypeVar

from bezel.backends.interface import Event, Events, Finish
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange
from bezel.service.lanes import Lanes
from bezel.service.server import Server

Result = TypeVar("Result")


class Place(Protocol):
    """What is worked on: a `Served`, or the guard."""

    @property
    def name(self) -> str: ...

    @property
    def lanes(self) -> Lanes: ...


class Effort:
    """What a thread does for one HTTP request: the tokens that it has taken, and whether it shall go on."""

    def __init__(self) -> None:
        self.prompt_tokens = self.completion_tokens = self.cached_tokens = 0
        self._stopped = threading.Event()
        self._events: Events | None = None

    def check(self) -> None:
        """ApiError "gone" where nobody waits any more."""
        if self._stopped.is_set():
            raise ApiError("gone")

    def answer(self, events_to_come: Events) -> list[Event]:
        """All events of a stream that begins now. Raises as it, and as `check`."""
        self._events = events_to_come
        with closing(self._events):
            self.check()  # behind the assignment: whoever stops it now finds the stream
            events = list(self._events)
        self.check()
        for event in events:
            if isinstance(event, Finish):
                self.prompt_tokens += event.usage.prompt_tokens
                self.cached_tokens += event.usage.cached_tokens
                self.completion_tokens += event.usage.completion_tokens
        return events

    def stop(self) -> None:
        """Called by the loop; the thread leaves soon after."""
        self._stopped.set()
        if self._events is not None:
            self._events.close()


async def working(
    server: Server, served: Place, exchange: Exchange, tokens: int, work: Callable[[Effort], Result]
) -> Result:
    """What `work` gives back on a thread; it takes `tokens` at most. Cancelling this stops it.

    Raises ApiError where the budget or the lanes do not allow it, and what `work` raises.
    """
    exchange.model = served.name
    reservation = await server.limits.reserve(exchange, tokens, 0)
    began = time.monotonic()
    try:
        entered = await served.lanes.enter(1)
    except BaseException:
        await server.limits.settle(reservation, 0)
        raise
    exchange.queue_seconds = entered - began
    server.metrics.queue_seconds.labels(served.name).observe(entered - began)
    effort = Effort()
    thread = asyncio.get_running_loop().run_in_executor(server.pool, work, effort)

    def left(done: asyncio.Future[Result]) -> None:
        served.lanes.leave(1, entered)
        done.exception()  # where nobody waits for it any more nobody else asks

    thread.add_done_callback(left)
    try:
        return await asyncio.shield(thread)
    finally:
        effort.stop()
        exchange.prompt_tokens, exchange.cached_tokens = effort.prompt_tokens, effort.cached_tokens
        exchange.completion_tokens = effort.completion_tokens
        server.metrics.prompt_tokens.labels(served.name).inc(effort.prompt_tokens)
        server.metrics.cached_tokens.labels(served.name).inc(effort.cached_tokens)
        server.metrics.generation_tokens.labels(served.name).inc(effort.completion_tokens)
        await server.limits.settle(reservation, effort.prompt_tokens + effort.completion_tokens)
