"""A backend's stream, which is synchronous, for a loop, which must not wait: a thread reads it, with bounded room."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from bezel.backends.interface import Event, Events, Request
from bezel.service.errors import ApiError
from bezel.service.screens import Stream

Item = tuple[int, Event | Exception]
"""What came of the stream of an index: an event, or what ended it before its Finish."""
_ROOM = 32


class Inbox:
    """What threads bring, for one reader on the loop that it was made on.

    An asyncio.Queue would hold four deques and wake the loop for every item; a stream in many is a matter of kilobytes.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._waking = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add an item, from any thread."""
        self._items.append(item)
        if not self._waking:
            self._waking = True
            self._loop.call_soon_threadsafe(self._wake)

    async def get(self) -> Item:
        """The first item, when there is one."""
        while not self._items:
            self._reader = self._loop.create_future()
            await self._reader
        return self._items.popleft()

    def clear(self) -> None:
        """Drop what is there."""
        self._items.clear()

    def _wake(self) -> None:
        self._waking = False  # first: what is put from here on wakes again
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Run:
    """One stream. What it brings is put into `inbox`, never more than there is room for; then its thread waits.

    A reader that makes no room for `patience` seconds ends it.
    """

    def __init__(
        self,
        stream: Stream,
        request: Request,
        index: int,
        inbox: Inbox,
        pool: ThreadPoolExecutor,
        patience: float,
    ) -> None:
        self._stream, self._index, self._inbox, self._patience = stream, index, inbox, patience
        self._change = threading.Condition(threading.Lock())
        self._room, self._closed = _ROOM, False
        self._events: Events | None = None
        self.finished = asyncio.get_running_loop().run_in_executor(pool, self._read, request)
        """Done when the thread has left the stream."""

    def taken(self) -> None:
        """Called by the loop for every item that it has taken."""
        with self._change:
            self._room += 1
            self._change.notify()

    def close(self) -> None:
        """Cancel the request within one step of its engine, unless it has ended. The thread leaves soon after."""
        with self._change:
            self._closed = True
            self._change.notify()
        if self._events is not None:
            self._events.close()

    def _read(self, request: Request) -> None:
        try:
            self._events = events = self._stream(request)
            del request  # the engine knows best for how long it needs it
            try:
                for event in events:
                    if not self._put(event):
                        return
            finally:
                events.close()
        except Exception as error:
            self._hand(error)

    def _put(self, event: Event) -> bool:
        """Whether to go on."""
        with self._change:
            in_time = self._change.wait_for(lambda: self._closed or self._room, self._patience)
            if self._closed:
                return False
            self._room -= 1
        self._hand(event if in_time else ApiError("slow_reader"))
        return bool(in_time)

    def _hand(self, item: Event | Exception) -> None:
        if not self._closed:
            self._inbox.put((self._index, item))
