"""The loop of a child process: a request is read, confined and decoded, and its answers are written."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

from bezel.media.child.confine import allow_time, confine
from bezel.media.formats import Kind
from bezel.media.limits import Limits
from bezel.media.protocol import IDLE_SECONDS, READY, REQUEST, Answer, Failure, RefusedError, Request, Tag

Decode = Callable[[Request, bytes, Limits, Callable[[bytes], None]], None]


def main(kind: str, limits: str) -> None:
    """Serve standard input until it ends. `limits` is JSON of Limits' fields."""
    bounds = Limits(**json.loads(limits))
    decode = _decoder(Kind(kind))
    source, sink = os.fdopen(0, "rb"), os.fdopen(1, "wb", buffering=0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confine(bounds)
    _write(sink, READY)
    signal.setitimer(signal.ITIMER_REAL, IDLE_SECONDS)
    while record := source.read(REQUEST.size):
        request = Request.unpack(record)
        allow_time(bounds.seconds)
        _write(sink, _answer(decode, request, source, bounds, sink).pack())
        signal.setitimer(signal.ITIMER_REAL, IDLE_SECONDS)


def _answer(decode: Decode, request: Request, source: BinaryIO, limits: Limits, sink: BinaryIO) -> Answer:
    """END after the results, or why there are none."""
    try:
        data = source.read(request.size)
        if len(data) != request.size:
            sys.exit(0)
        decode(request, data, limits, lambda raw: _write(sink, raw))
    except RefusedError as error:
        return Answer(Tag.FAILURE, error.failure, min(error.first, 0xFFFFFFFF), min(error.second, 0xFFFFFFFF))
    except MemoryError:
        return Answer(Tag.FAILURE, Failure.MEMORY)
    return Answer(Tag.END)


def _write(sink: BinaryIO, raw: bytes) -> None:
    rest = memoryview(raw)
    while rest:
        rest = rest[sink.write(rest) or 0 :]


def _decoder(kind: Kind) -> Decode:
    """Imported before the child is confined, after which no module can be."""
    if kind is Kind.PICTURE:
        from bezel.media.child import pictures

        return pictures.decode
    if kind is Kind.SOUND:
        from bezel.media.child import sounds

        return sounds.decode
    from bezel.media.child import videos

    return videos.decode
