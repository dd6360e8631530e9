"""A backend's events as far as a content policy lets them through, while they come."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace

from bezel.backends.interface import Backend, Delta, Event, Events, Finish, Request, TokenLogprob, Usage
from bezel.errors import ContentBlockedError, UnsupportedInputError
from bezel.safety.content import ContentPolicy, Note, searched
from bezel.safety.guard import Violated
from bezel.safety.rules import Side
from bezel.safety.values import changed
from bezel.safety.window import Window
from bezel.text.calls import Call, CallBroken, CallDelta, CallFinished, CallStarted

_GUARD = "guard/"


class Screened:
    """The events of one request; see `backends.interface.Events`.

    With `streamed` text is held back by the policy's windows, else to the end of the answer. A blocked answer ends with
    a Finish "content_filter", and nothing that was held back comes before it. Calls come whole, arguments at once.
    Raises ContentBlockedError where the guard blocks the request, which the backend then never sees; `judge_request`
    says whether it is asked.
    """

    def __init__(
        self,
        policy: ContentPolicy,
        backend: Backend,
        request: Request,
        note: Note,
        streamed: bool,
        judge_request: bool = True,
    ) -> None:
        self._policy, self._backend, self._request, self._note = policy, backend, request, note
        self._streamed, self._judge_request = streamed, judge_request
        self._closed = False
        self._inner: Events | None = None
        self._events = self._run()

    def __iter__(self) -> Screened:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """See `Events.close`; a guard that is judging ends its verdict first."""
        self._closed = True
        if self._inner is not None:
            self._inner.close()
        with suppress(ValueError):  # another thread is inside of it
            self._events.close()

    def _run(self) -> Generator[Event, None, None]:
        request, guard = self._request, self._policy.guard
        if guard is not None and self._judge_request:
            request = guard.passed(request, _prompt(self._backend, request), self._violated("input"))
        if self._closed:
            return
        self._inner = events = self._backend.stream(request)
        if self._closed:  # before there was a stream to close
            events.close()
            return
        answer = _Answer(self._policy, self._backend, request, self._note, self._streamed, self._violated("output"))
        try:
            for event in events:
                try:
                    passed = list(answer.take(event))
                except ContentBlockedError:
                    events.close()
                    yield answer.blocked(event)
                    return
                yield from passed
        finally:
            events.close()

    def _violated(self, side: Side) -> Violated:
        return lambda key: self._note(_GUARD + key, "block", side)


class _Answer:
    """One answer on its way through the windows."""

    def __init__(
        self, policy: ContentPolicy, backend: Backend, request: Request, note: Note, streamed: bool, violated: Violated
    ) -> None:
        self._policy, self._backend, self._request = policy, backend, request
        self._note, self._violated, self._streamed = note, violated, streamed
        self._rules = policy.of_side("output")
        self._question = _question(backend, request) if policy.guard is not None else ""
        self._window = self._new_window()
        self._before = ""
        """What the guard reads before the window's text: earlier texts, and calls."""
        self._calls: dict[int, list[Event]] = {}
        self._held: list[TokenLogprob] = []
        self._redacted = False
        self._produced, self._began = 0, time.perf_counter()

    def take(self, event: Event) -> Iterator[Event]:
        """What goes on now. Raises ContentBlockedError where nothing more may."""
        if isinstance(event, Delta):
            yield from self._text(event)
        elif isinstance(event, CallStarted | CallDelta):
            self._calls.setdefault(event.index, []).append(event)
        elif isinstance(event, CallFinished):
            yield from self._close_text()
            yield from self._call(event)
        elif isinstance(event, CallBroken):
            self._calls.pop(event.index, None)
            yield event
        else:
            yield from self._close_text()
            if self._held and not self._redacted:
                yield Delta("", tuple(self._held))
            yield event

    def blocked(self, event: Event) -> Finish:
        """The end of an answer that was blocked when `event` came."""
        if isinstance(event, Finish):
            return replace(event, reason="content_filter")
        seconds = time.perf_counter() - self._began
        prompt = _prompt_tokens(self._backend, self._request)
        return Finish("content_filter", Usage(prompt, self._produced, 0.0, seconds))

    def _text(self, event: Delta) -> Iterator[Event]:
        """Log-probabilities spell the text, so they come at the end, where nothing was redacted."""
        self._produced += len(event.tokens)
        text, tokens = self._window.push(event.text), event.tokens
        if self._request.logprobs is not None:
            self._held += tokens
            tokens = ()
        if text or tokens:
            yield Delta(text, tokens)

    def _close_text(self) -> Iterator[Event]:
        rest = self._window.close()
        self._redacted = self._redacted or self._window.redacted
        self._before += self._window.whole
        self._window = self._new_window()
        if rest:
            yield Delta(rest)

    def _call(self, event: CallFinished) -> Iterator[Event]:
        call = event.call
        after = Call(call.name, changed(call.arguments, lambda text: searched(text, self._rules, "output", self._note)))
        self._before += f"\n{call.name} {call.arguments_json()}\n"
        if self._policy.guard is not None:
            self._policy.guard.answer(self._question, self._before, self._violated)
        if after == call:
            yield from self._calls.pop(event.index, ())
            yield event
        else:
            self._calls.pop(event.index, None)
            yield CallStarted(event.index, call.name)
            yield CallDelta(event.index, after.arguments_json())
            yield CallFinished(event.index, after)

    def _new_window(self) -> Window:
        guard = self._policy.guard

        def judge(text: str) -> None:
            assert guard is not None
            guard.answer(self._question, self._before + text, self._violated)

        size = self._policy.hold_back if self._streamed else None
        return Window(
            self._rules,
            self._note,
            size,
            judge if guard is not None and guard.texts is not None else None,
            self._policy.guard_every,
        )


def _prompt(backend: Backend, request: Request) -> str:
    """Of a request without messages, as text."""
    if isinstance(request.prompt, str) or request.prompt is None:
        return request.prompt or ""
    return backend.text_of(request.prompt)


def _question(backend: Backend, request: Request) -> str:
    """What an answer is judged beside: the text of the user's last message, or the prompt."""
    if request.messages is None:
        return _prompt(backend, request)
    content = next((each["content"] for each in reversed(request.messages) if each.get("role") == "user"), "")
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part.get("type") == "text")


def _prompt_tokens(backend: Backend, request: Request) -> int:
    """0 where an endpoint does not count for others."""
    try:
        return len(backend.prompt_ids(request))
    except UnsupportedInputError:
        return 0
