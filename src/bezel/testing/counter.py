"""A backend that counts, for tests of whatever stands in front of one."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bezel.backends.interface import Delta, Event, Finish, Request, TokenLogprob, Usage
from bezel.errors import ContextLengthError, InvalidRequestError
from bezel.generation.sampling import Sampling
from bezel.text.calls import Call, CallDelta, CallFinished, CallStarted
from bezel.text.stop import StopStrings
from bezel.text.tools import NamedTool


class CounterBackend:
    """A backend without a model: answers "1 2 3 ..." up to `count`, waiting `delay` seconds before every token.

    With a `gate` it waits for that too. A prompt has a token a word. Offered tools are called, each once with
    {"count": 1}, unless the last message is a tool's. `failure` is raised in place of token `fails_at` (from 1).
    `asked` is the last request; `running` how many streams are open, `cancelled` how many were closed before their end,
    `produced` all tokens together.
    """

    def __init__(
        self,
        count: int = 5,
        delay: float = 0.0,
        context: int = 4096,
        failure: Exception | None = None,
        fails_at: int = 1,
        gate: threading.Event | None = None,
    ) -> None:
        self.sampling = Sampling()
        self._gate = gate
        self._count, self._delay, self._context = count, delay, context
        self._failure, self._fails_at = failure, fails_at
        self.asked: Request | None = None
        self.running = self.cancelled = self.produced = 0
        self._lock = threading.Lock()

    def prompt_ids(self, request: Request) -> list[int]:
        """See `Backend.prompt_ids`. ContextLengthError where the prompt fills the context."""
        return self._prompt_ids(request)

    def _prompt_ids(self, request: Request) -> list[int]:
        texts = [request.prompt] if isinstance(request.prompt, str) else [_said(m) for m in request.messages or ()]
        ids = request.prompt if isinstance(request.prompt, list) else range(len(" ".join(texts).split()))
        if len(ids) >= self._context:
            raise ContextLengthError(f"{len(ids)} prompt tokens; the context has {self._context}")
        return list(ids)

    def text_of(self, token_ids: Sequence[int]) -> str:
        """See `Backend.text_of`."""
        if any(token >= self._context for token in token_ids):
            raise InvalidRequestError(f"there are {self._context} tokens")
        return " ".join(map(str, token_ids))

    def health(self) -> Mapping[str, Any]:
        """See `Backend.health`."""
        return {"status": "healthy"}

    def describe(self) -> Mapping[str, Any]:
        """See `Backend.describe`."""
        return {"model": "counter", "engine": "counter", "context": self._context}

    def stream(self, request: Request) -> Counting:
        """See `Backend.stream`."""
        self.asked = request
        return Counting(self, request)

    def _pieces(self, request: Request) -> Iterator[tuple[Event, ...]]:
        """What each token brings."""
        names = [tool["function"]["name"] for tool in request.offered]
        if isinstance(request.tool_choice, NamedTool):
            names = [request.tool_choice.name]
        if names and (request.messages or [{}])[-1].get("role") != "tool":
            for index, name in enumerate(names if request.parallel_tool_calls else names[:1]):
                parts = CallDelta(index, '{"count":'), CallDelta(index, "1}")
                whole = CallFinished(index, Call(name, {"count": 1}))
                yield Delta("", (TokenLogprob(0, "", -0.5),)), CallStarted(index, name), *parts, whole
            return
        for number in range(1, self._count + 1):
            text = f"{' ' if number > 1 else ''}{number}"
            yield (Delta(text, (self._logprob(text, request.logprobs or 0),)),)

    def _logprob(self, text: str, top: int) -> TokenLogprob:
        others = ((int(text), text, -0.5), (0, "0", -1.5))
        return TokenLogprob(int(text), text, -0.5, others[:top])

    def _wait(self, closed: threading.Event) -> bool:
        """Whether it was closed meanwhile."""
        while self._gate is not None and not self._gate.wait(0.01):
            if closed.is_set():
                return True
        return closed.wait(self._delay) if self._delay else closed.is_set()


class Counting:
    """The events of a `CounterBackend`."""

    def __init__(self, backend: CounterBackend, request: Request) -> None:
        self._closed = threading.Event()
        self._events = self._run(backend, request)

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """See `Events.close`."""
        self._closed.set()
        with suppress(ValueError):  # another thread is inside of it
            self._events.close()

    def _run(self, backend: CounterBackend, request: Request) -> Generator[Event, None, None]:
        prompt, done, ended, cut = len(backend._prompt_ids(request)), 0, False, False
        pieces, stops = backend._pieces(request), StopStrings(request.stop)
        with backend._lock:
            backend.running += 1
        try:
            for events in pieces:
                if done == request.max_tokens:
                    cut = True
                    break
                if backend._wait(self._closed):
                    return
                done += 1
                if backend._failure is not None and done == backend._fails_at:
                    raise backend._failure
                with backend._lock:
                    backend.produced += 1
                for event in events:
                    yield replace(event, text=stops.push(event.text)) if isinstance(event, Delta) else event
                if stops.hit is not None:
                    break
            ended = True
            yield Delta(stops.flush())
            yield Finish(
                "length" if cut else "stop", Usage(prompt, done, 0.001, 0.001 * done, cached_tokens=prompt // 2)
            )
        finally:
            with backend._lock:
                backend.running -= 1
                backend.cancelled += not ended


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
