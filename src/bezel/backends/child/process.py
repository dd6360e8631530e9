"""The server's side of one process of an engine, from its start to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from bezel.backends.child.wire import ANYTHING, EVENTS, FAILURE, OPENED, Message, Opened, Pipe, Tag, framed, raised
from bezel.backends.interface import Event
from bezel.errors import EngineError, EngineLostError, EngineStartingError

GRACE_SECONDS = 5.0
"""In which a process ends by itself when its pipe is closed."""
_CODE = """
import sys, json
sys.path[:] = json.loads(sys.argv[1])
from bezel.backends.child.main import main
main()
"""


class Ended:
    """There is no further event."""


@dataclass(frozen=True)
class Value:
    """What a method gave back."""

    value: Any


Answer = Event | Ended | Value | Exception


@dataclass(frozen=True)
class Asked:
    """Something that was asked of a process: `answers` is what comes of it, the last is no event."""

    child: Child
    number: int
    answers: SimpleQueue[Answer] = field(default_factory=SimpleQueue)

    def cancel(self) -> None:
        """Ask it to end within one step; harmless where it has ended. Never waits."""
        self.child.cancel(self.number)


class Child:
    """A process, started at once; `opened` is known after `wait`. Call `serve` on a thread, `end` when it returns."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        paths = [str(Path(__file__).parents[3]), *(os.path.abspath(path) for path in sys.path if path)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # what a terminal sends is for the server, which drains
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._pipe = Pipe(self._process.stdout.fileno(), self._process.stdin.fileno())
        self._messages = self._pipe.messages()
        self._numbers = count(1)
        self._asked: dict[int, Asked] = {}
        self._lost = False
        self._turn = threading.Lock()
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._outgoing.put(framed(0, Tag.OPEN, dict(options)))
        self._writer = threading.Thread(target=self._write, name="bezel-engine-writer", daemon=True)
        self._writer.start()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def wait(self) -> Opened:
        """Until the model is loaded. Raises what loading raised, EngineLostError where the process ended."""
        found = self._loaded()
        if found is None:
            raise EngineLostError(f"the process of the engine ended while it loaded the model ({self.how()})")
        if isinstance(found, Exception):
            raise found
        return found

    def _loaded(self) -> Opened | Exception | None:
        with suppress(OSError, ValueError, msgspec.MsgspecError):
            for message in self._messages:
                if message.tag is Tag.OPENED:
                    opened: Opened = OPENED.decode(message.body)
                    return opened
                return raised(FAILURE.decode(message.body))
        return None

    def ask(self, tag: Tag, body: Any) -> Asked:
        """Send a request or a call. Never waits for the process. Raises EngineStartingError where it has ended."""
        asked = Asked(self, next(self._numbers))
        frame = framed(asked.number, tag, body)
        with self._turn:
            if self._lost:
                raise EngineStartingError("the process of the engine has ended, and another is started; try again soon")
            self._asked[asked.number] = asked
        self._outgoing.put(frame)
        return asked

    def cancel(self, number: int) -> None:
        """See `Asked.cancel`."""
        if number in self._asked:
            self._outgoing.put(framed(number, Tag.CANCEL))

    def serve(self) -> None:
        """Hand out answers until the process ends, however that happens; then everything that was asked fails."""
        with suppress(OSError, ValueError, TypeError, msgspec.MsgspecError):  # no message: the process is broken
            for message in self._messages:
                self._hand_out(message)
        self.kill()
        self._process.wait()
        with self._turn:
            self._lost = True
        for asked in list(self._asked.values()):
            asked.answers.put(EngineLostError(f"the process of the engine ended in the middle ({self.how()})"))
        self._asked.clear()

    def how(self) -> str:
        """In which way the process ended, in a few words."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        status = self._process.poll()
        if status is None:
            return "it still runs"
        if status >= 0:
            return f"exit status {status}"
        with suppress(ValueError):
            return f"signal {signal.Signals(-status).name}"
        return f"signal {-status}"

    def close_pipe(self) -> None:
        """Have the process end by itself: nothing more is sent. `serve` returns."""
        self._outgoing.put(None)

    def kill(self) -> None:
        """At once; harmless where it has ended."""
        self._process.kill()

    def end(self) -> None:
        """Kill, wait and let go of everything; harmless where it has ended."""
        self.kill()
        self._process.wait()
        self.close_pipe()
        self._writer.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def wait_seconds(self, seconds: float) -> bool:
        """Whether the process ends in this time."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def _write(self) -> None:
        with suppress(OSError):  # whoever reads finds that the process has ended
            while (frame := self._outgoing.get()) is not None:
                self._pipe.send(frame)
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def _hand_out(self, message: Message) -> None:
        asked = self._asked.get(message.number)
        if message.tag in EVENTS:
            if asked is not None:
                asked.answers.put(EVENTS[message.tag].decode(message.body))
            return
        self._asked.pop(message.number, None)
        if asked is None:
            return
        if message.tag is Tag.END:
            asked.answers.put(Ended())
        elif message.tag is Tag.VALUE:
            asked.answers.put(Value(ANYTHING.decode(message.body)))
        elif message.tag is Tag.ERROR:
            asked.answers.put(raised(FAILURE.decode(message.body)))
        else:
            asked.answers.put(EngineError(f"the engine answered with {message.tag.name}"))
