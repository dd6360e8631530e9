"""Reading an answer while it is written: a recursive descent that waits, wherever it stands, for more text."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from bezel.text.calls import Call, CallBroken, CallDelta, CallEvent, CallFinished, CallStarted, CallText

Reading = Generator[None, None, None]
ReadingText = Generator[None, None, str]
Sink = Callable[[str], object]
DEPTH_LIMIT = 64
SIZE_LIMIT = 1 << 20
COUNT_LIMIT = 128
END = ""


class Control(str):
    """A control piece that the model produced. Text with the same spelling is no Control."""

    __slots__ = ()


class MalformedError(Exception):
    """What stands here is not what was being read. Never leaves this package."""


class Reader:
    """Takes an answer piece by piece and says what it means. A dialect implements `_read`, which is begun once.

    `_read` looks ahead with `_peek`, takes with `_take` and reports with `_say`, `_start`, `_add` and `_finish`. A call
    has at most SIZE_LIMIT characters and DEPTH_LIMIT levels, an answer at most COUNT_LIMIT calls.
    """

    def __init__(self) -> None:
        self._atoms: deque[str] = deque()
        self._ended = False
        self._taken: list[str] = []
        self._begun = 0
        self._said: list[str] = []
        self._events: list[CallText | CallEvent] = []
        self._index, self._open = -1, False
        self._name, self._arguments = "", list[str]()
        self.finished = 0
        self._reading: Reading | None = self._read()

    def push(self, text: str) -> list[CallText | CallEvent]:
        """What the next piece of text adds. Control pieces are not text: see `control`."""
        self._atoms.extend(text)
        return self._advance()

    def control(self, piece: str) -> list[CallText | CallEvent]:
        """What a control piece that the model produced adds."""
        self._atoms.append(Control(piece))
        return self._advance()

    def close(self) -> list[CallText | CallEvent]:
        """What is left when nothing more comes."""
        self._ended = True
        return self._advance()

    def _read(self) -> Reading:
        raise NotImplementedError

    def _advance(self) -> list[CallText | CallEvent]:
        if self._reading is not None:
            try:
                next(self._reading)
            except StopIteration:
                self._reading = None
        self._flush()
        events, self._events = self._events, []
        return events

    def _flush(self) -> None:
        if self._said:
            text = "".join(self._said)
            self._said = []
            if self._open:
                self._events.append(CallDelta(self._index, text))
            else:
                self._events.append(CallText(text))

    # What a dialect reads with.

    def _peek(self) -> ReadingText:
        """The next character or Control; END where nothing more comes."""
        while not self._atoms:
            if self._ended:
                return END
            yield
        return self._atoms[0]

    def _take(self) -> str:
        """Goes past what `_peek` saw."""
        atom = self._atoms.popleft()
        self._taken.append(atom)
        if len(self._taken) > SIZE_LIMIT:
            raise MalformedError(f"it is longer than {SIZE_LIMIT} characters")
        return atom

    def _mark(self) -> None:
        """Begins anew what `_since` returns; so does the end of a call."""
        self._taken.clear()
        self._begun = 0

    def _since(self) -> str:
        return "".join(self._taken[self._begun :])

    def _spaces(self) -> Reading:
        while True:
            atom = yield from self._peek()
            if isinstance(atom, Control) or not atom.isspace():
                return
            self._take()

    def _expect(self, text: str) -> Reading:
        for wanted in text:
            atom = yield from self._peek()
            if atom != wanted or isinstance(atom, Control):
                raise MalformedError(f"{text!r} is missing" + (f" before {atom!r}" if atom else " at the end"))
            self._take()

    def _while(self, accepted: Callable[[str], bool]) -> ReadingText:
        """The characters up to the first that is not accepted."""
        found: list[str] = []
        while True:
            atom = yield from self._peek()
            if atom == END or isinstance(atom, Control) or not accepted(atom):
                return "".join(found)
            found.append(self._take())

    # What a dialect reports with.

    def _say(self, text: str) -> None:
        """Text outside every call."""
        if text:
            self._said.append(text)

    def _start(self, name: str) -> None:
        self._flush()
        self._index += 1
        self._open, self._name, self._arguments = True, name, []
        self._events.append(CallStarted(self._index, name))
        if self._index >= COUNT_LIMIT:
            raise MalformedError(f"the answer has more than {COUNT_LIMIT} calls")

    def _add(self, arguments: str) -> None:
        """The next piece of the arguments' JSON."""
        if arguments:
            self._said.append(arguments)
            self._arguments.append(arguments)

    def _finish(self) -> None:
        call = Call(self._name, _object("".join(self._arguments)))
        self._flush()
        self._open, self._begun = False, len(self._taken)
        self.finished += 1
        self._events.append(CallFinished(self._index, call))

    def _break(self, reason: str) -> None:
        self._flush()
        self._open = False
        self._events.append(CallBroken(self._index, self._name, self._since(), reason))


def _object(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise MalformedError("a text in it has half a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"the arguments are not JSON ({error})") from None
    if not isinstance(arguments, dict):
        raise MalformedError("the arguments are no object")
    return arguments


def quoted(text: str) -> str:
    """A JSON string."""
    return json.dumps(text, ensure_ascii=False)


def inside(text: str) -> str:
    """Text as it stands between the quotes of a JSON string."""
    return quoted(text)[1:-1]


def deeper(depth: int) -> int:
    """The next level. Raises MalformedError behind the last one."""
    if depth >= DEPTH_LIMIT:
        raise MalformedError(f"it is nested more than {DEPTH_LIMIT} deep")
    return depth + 1
