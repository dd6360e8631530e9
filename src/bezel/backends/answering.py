"""The events of a request to the engine, which may be cancelled while somebody waits for them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from bezel.backends.answer import Answer
from bezel.backends.interface import Event
from bezel.engine.request import Progress


class Steps(Protocol):
    """What the steps of an engine bring for one request; `driver.Stream` is one. Any thread may cancel it."""

    def __iter__(self) -> Iterator[Progress]: ...

    def cancel(self) -> None: ...


class _State:
    """What the generator and its owner both know; the owner itself must not be held by the generator."""

    def __init__(self) -> None:
        self.stream: Steps | None = None
        self.closed = False


class Answering:
    """See `interface.Events`. `start` queues the request, when the first event is asked for."""

    def __init__(self, start: Callable[[], tuple[Answer, Steps]]) -> None:
        self._state = _State()
        self._events = _events(start, self._state)

    def __iter__(self) -> Answering:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """See `interface.Events.close`."""
        self._state.closed = True
        try:
            self._events.close()
        except ValueError:  # another thread is inside of it, and leaves with the step that cancels
            if self._state.stream is not None:
                self._state.stream.cancel()


def _events(start: Callable[[], tuple[Answer, Steps]], state: _State) -> Generator[Event, None, None]:
    answer, stream = start()
    state.stream = stream
    try:
        if state.closed:  # before there was a stream to cancel
            return
        for progress in stream:
            yield from answer.take(progress)
            if answer.ended:
                return
    finally:
        stream.cancel()
