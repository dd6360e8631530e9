"""The process of an engine: opens a backend and answers what comes through standard input, until that ends."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import msgspec

from bezel.backends.child.wire import (
    ANYTHING,
    ARGUMENTS,
    CALLED,
    REQUEST,
    TAGS,
    Message,
    Opened,
    Pipe,
    Tag,
    failure,
    framed,
)
from bezel.backends.interface import Backend, Embedder, Events, Hearer
from bezel.backends.opening import open_backend
from bezel.errors import BezelError

_CALLS_AT_ONCE = 8


class Host:
    """Answers for one backend. Streams have a thread each, methods share a few."""

    def __init__(self, pipe: Pipe, backend: Backend) -> None:
        self._pipe, self._backend = pipe, backend
        self._streams: dict[int, Events] = {}
        self._calls = ThreadPoolExecutor(_CALLS_AT_ONCE, "bezel-call")

    def take(self, message: Message) -> None:
        """Begin what a message asks for."""
        if message.tag is Tag.ASK:
            self._begin(message)
        elif message.tag is Tag.CALL:
            self._calls.submit(self._call, message)
        elif message.tag is Tag.CANCEL:
            events = self._streams.get(message.number)
            if events is not None:
                events.close()

    def _begin(self, message: Message) -> None:
        try:
            events = self._backend.stream(REQUEST.decode(message.body))
        except Exception as error:
            self._send(framed(message.number, Tag.ERROR, failure(error)))
            return
        self._streams[message.number] = events
        threading.Thread(target=self._read, args=(message.number, events), name="bezel-stream", daemon=True).start()

    def _read(self, number: int, events: Events) -> None:
        try:
            for event in events:
                self._send(framed(number, TAGS[type(event)], event))
            last = framed(number, Tag.END)
        except Exception as error:
            last = framed(number, Tag.ERROR, failure(error))
        finally:
            events.close()
        del self._streams[number]
        self._send(last)

    def _call(self, message: Message) -> None:
        try:
            name, arguments = CALLED.decode(message.body)
            value = getattr(self._backend, name)(*ARGUMENTS[name].decode(arguments))
            answer = framed(message.number, Tag.VALUE, value)
        except Exception as error:
            answer = framed(message.number, Tag.ERROR, failure(error))
        self._send(answer)

    def _send(self, frame: bytes) -> None:
        with suppress(OSError):  # the server has gone, which `main` finds too
            self._pipe.send(frame)


def main() -> None:
    """Serve the pipe that standard input and output are; what prints goes to standard error instead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server, which drains
    pipe = Pipe(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    messages = pipe.messages()
    options: dict[str, Any] = ANYTHING.decode(next(messages).body)
    try:
        backend = open_backend(**options)
        pipe.send(framed(0, Tag.OPENED, _opened(backend)))
    except BezelError as error:
        pipe.send(framed(0, Tag.ERROR, failure(error)))
        os._exit(1)
    host = Host(pipe, backend)
    try:
        for message in messages:
            host.take(message)
    except (OSError, ValueError, msgspec.MsgspecError):
        os._exit(1)
    os._exit(0)  # the server has gone: a step under way is nobody's


def _opened(backend: Backend) -> Opened:
    ears = getattr(backend, "ears", None) if isinstance(backend, Hearer) else None
    heard = (ears.rate, ears.seconds) if ears is not None else (None, None)
    return Opened(dict(backend.describe()), backend.sampling, isinstance(backend, Embedder), *heard)
