"""A backend's stream, which is synchronous, for a loop, which must not wait: a thread reads it, with bounded room."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from bezel.backends.interface import Event, Events, Request
from bezel.service.errors import ApiError
from bezel.service.screens import Stream

Item = tuple[int, Event | Exception]
"""What came of the stream of an index: an event, or what ended it before its Finish."""
_ROOM = 64


class Run:
    """One stream. What it brings is put into `items`, never more than there is room for; then its thread waits.

    A reader that makes no room for `patience` seconds ends it.
    """

    def __init__(
        self,
        stream: Stream,
        request: Request,
        index: int,
        items: asyncio.Queue[Item],
        pool: ThreadPoolExecutor,
        patience: float,
    ) -> None:
        self._stream, self._request, self._index, self._items = stream, request, index, items
        self._patience = patience
        self._room = threading.Semaphore(_ROOM)
        self._closed = threading.Event()
        self._events: Events | None = None
        self._loop = asyncio.get_running_loop()
        self.finished = self._loop.run_in_executor(pool, self._read)
        """Done when the thread has left the stream."""

    def taken(self) -> None:
        """Called by the loop for every item that it has taken."""
        self._room.release()

    def close(self) -> None:
        """Cancel the request within one step of its engine, unless it has ended. The thread leaves soon after."""
        self._closed.set()
        self._room.release()
        if self._events is not None:
            self._events.close()

    def _read(self) -> None:
        try:
            self._events = events = self._stream(self._request)
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
        if self._closed.is_set():
            return False
        if not self._room.acquire(timeout=self._patience):
            self._hand(ApiError("slow_reader"))
            return False
        self._hand(event)
        return True

    def _hand(self, item: Event | Exception) -> None:
        if not self._closed.is_set():
            self._loop.call_soon_threadsafe(self._items.put_nowait, (self._index, item))
