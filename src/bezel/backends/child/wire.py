"""What a server and the process of its engine say to each other: messages of msgpack behind their length."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from bezel import errors
from bezel.backends.child.values import decoder, encoded
from bezel.backends.interface import Delta, Event, Finish, Request
from bezel.errors import BezelError, EngineError
from bezel.generation.sampling import Sampling
from bezel.text.calls import CallBroken, CallDelta, CallFinished, CallStarted

_BLOCK = 1 << 18
_LENGTH = 4  # bytes, little-endian
MOST_BYTES = 1 << 30
"""Of a message."""


class Tag(IntEnum):
    """The first four go to the engine, the others come from it."""

    OPEN = 0  # the options of open_backend
    ASK = 1  # a Request
    CALL = 2  # a method's name, its arguments
    CANCEL = 3
    OPENED = 4
    END = 5  # of a stream
    VALUE = 6  # of a method
    ERROR = 7  # of whatever has the number
    DELTA = 8
    CALL_STARTED = 9
    CALL_DELTA = 10
    CALL_FINISHED = 11
    CALL_BROKEN = 12
    FINISH = 13


class Message(msgspec.Struct, array_like=True, frozen=True):
    """`number` says which request it belongs to."""

    number: int
    tag: Tag
    body: msgspec.Raw


@dataclass(frozen=True)
class Opened:
    """What is loaded. `rate` and `seconds` of what it hears; None where it does not."""

    description: dict[str, Any]
    sampling: Sampling
    embeds: bool
    rate: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Failure:
    """An error: the name of its class, its words."""

    kind: str
    words: str


TAGS: dict[type[Event], Tag] = {
    Delta: Tag.DELTA,
    CallStarted: Tag.CALL_STARTED,
    CallDelta: Tag.CALL_DELTA,
    CallFinished: Tag.CALL_FINISHED,
    CallBroken: Tag.CALL_BROKEN,
    Finish: Tag.FINISH,
}
EVENTS = {tag: decoder(kind) for kind, tag in TAGS.items()}
ARGUMENTS = {
    "prompt_ids": decoder(tuple[Request]),
    "text_of": decoder(tuple[list[int]]),
    "health": decoder(tuple[()]),
    "embed": decoder(tuple[list[str], str | None, int | None]),
    "token_counts": decoder(tuple[list[str], str | None]),
}
"""The methods of a backend that may be called, and what they take."""
ANYTHING, REQUEST, OPENED, FAILURE = decoder(Any), decoder(Request), decoder(Opened), decoder(Failure)
CALLED = decoder(tuple[str, msgspec.Raw])
_MESSAGE = decoder(Message)


def framed(number: int, tag: Tag, body: Any = None) -> bytes:
    """A message as it stands in the pipe. Raises as `values.encoded`."""
    data = encoded((number, tag, body))
    if len(data) > MOST_BYTES:
        raise errors.InvalidRequestError(f"a request of {len(data):,} bytes is too large for the engine's pipe")
    return len(data).to_bytes(_LENGTH, "little") + data


def failure(error: BaseException) -> Failure:
    """An error in words."""
    return Failure(type(error).__name__, str(error).encode("utf-8", "replace").decode())


def raised(failed: Failure) -> Exception:
    """The error of ours that a failure tells; EngineError for any other."""
    kind = getattr(errors, failed.kind, None)
    if isinstance(kind, type) and issubclass(kind, BezelError):
        return kind(failed.words)
    return EngineError(f"the engine failed: {failed.kind}: {failed.words}")


class Pipe:
    """Two file descriptors, which it owns. Any thread may send; one receives."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._waiting: deque[bytes] = deque()
        self._turn = threading.Lock()

    def send(self, frame: bytes) -> None:
        """Write it, or leave it to the thread that writes now, which takes what has come meanwhile in one go.

        Raises OSError where the other side is gone.
        """
        self._waiting.append(frame)
        while self._waiting and self._turn.acquire(blocking=False):
            try:
                rest = memoryview(b"".join(self._waiting.popleft() for _ in range(len(self._waiting))))
                while rest:
                    rest = rest[os.write(self._write, rest) :]
            finally:
                self._turn.release()

    def messages(self) -> Iterator[Message]:
        """Until the other side ends. Raises ValueError and msgspec.MsgspecError for what is no message."""
        buffer = bytearray()
        while block := os.read(self._read, _BLOCK):
            buffer += block
            place = 0
            while len(buffer) - place >= _LENGTH:
                size = int.from_bytes(buffer[place : place + _LENGTH], "little")
                if size > MOST_BYTES:
                    raise ValueError(f"a message of {size:,} bytes")
                if len(buffer) - place - _LENGTH < size:
                    break
                place += _LENGTH
                yield _MESSAGE.decode(bytes(buffer[place : place + size]))
                place += size
            del buffer[:place]

    def close(self) -> None:
        """Both ends; the other side finds it."""
        os.close(self._write)
        os.close(self._read)
