"""Any endpoint that speaks OpenAI's protocol behind the backend contract, through OpenAI's own client."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from bezel.backends.endpoints import Endpoint
from bezel.backends.interface import Delta, Event, Finish, Request, TokenLogprob, Usage
from bezel.backends.loading import DEFAULT_CONTEXT
from bezel.backends.outgoing import body_of
from bezel.engine.request import FinishReason
from bezel.errors import (
    AccessDeniedError,
    BezelError,
    ContentBlockedError,
    ContextLengthError,
    EndpointError,
    InvalidRequestError,
    MissingExtraError,
    OverloadedError,
    UnknownModelError,
    UnsupportedInputError,
)
from bezel.generation.sampling import Sampling
from bezel.text.calls import Call, CallBroken, CallDelta, CallFinished, CallStarted

if TYPE_CHECKING:
    import openai

NO_ID = -1
"""The id of a token of which only the text is known."""
_AT_ONCE = 16
_EXTRA = ("top_k", "min_p", "repetition_penalty", "structured_outputs")  # fields that the client has no name for


class OpenAIBackend:
    """A model at an endpoint. `context`: tokens that it holds there (default: 8,192), which the endpoint alone knows.

    `seconds`: how long it may be silent. Nothing is asked twice by itself. Log-probabilities come without token ids
    (NO_ID). Usage is 0 where the endpoint does not say. Raises MissingExtraError where the client is not installed.
    """

    sampling = Sampling()

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        key: str | None = None,
        context: int | None = None,
        seconds: float = 600.0,
    ) -> None:
        try:
            import openai
        except ImportError:
            raise MissingExtraError(
                f"the backend {endpoint.name} needs OpenAI's client; run: pip install 'bezel[openai]'"
            ) from None
        self.name, self._endpoint, self._context = model, endpoint, context or DEFAULT_CONTEXT
        self._client = openai.OpenAI(base_url=endpoint.url, api_key=key or "none", timeout=seconds, max_retries=0)

    def stream(self, request: Request) -> RemoteEvents:
        """See `Backend.stream`. Events raise EndpointError and its kinds, and what `body_of` raises."""
        return RemoteEvents(lambda: self._chunks(request), self._named_errors)

    def _chunks(self, request: Request) -> Any:
        body = body_of(request, self.name, self._endpoint)
        body["extra_body"] = {name: body.pop(name) for name in _EXTRA if name in body}
        kind: Any = self._client.chat.completions if "messages" in body else self._client.completions
        return kind.create(**body)

    def answers(self, requests: Sequence[Request]) -> list[list[Event]]:
        """All events of several requests, asked side by side."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda request: list(self.stream(request)), requests))

    def prompt_ids(self, request: Request) -> list[int]:
        """Raises UnsupportedInputError: the endpoint keeps them to itself."""
        raise UnsupportedInputError(f"{self._endpoint.name} does not say what tokens a prompt has; load the model here")

    def text_of(self, token_ids: Sequence[int]) -> str:
        """Raises UnsupportedInputError, as `prompt_ids`."""
        raise UnsupportedInputError(f"{self._endpoint.name} does not say what tokens stand for; load the model here")

    def health(self) -> Mapping[str, Any]:
        """{"status": "healthy"} where the endpoint answers. Raises EndpointError and its kinds."""
        with self._named_errors():
            self._client.models.list()
        return {"status": "healthy"}

    def describe(self) -> Mapping[str, Any]:
        """Name, context, engine and address."""
        where = {"engine": self._endpoint.name, "url": self._endpoint.url}
        return {"model": self.name, "context": self._context, **where}

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        import httpx
        import openai

        try:
            yield
        except openai.APIError as error:
            raise _named(error, self._endpoint, self.name) from error
        except httpx.HTTPError as error:
            raise EndpointError(f"{self._endpoint.name}: broke its answer off ({error}); try again") from error
        except (json.JSONDecodeError, UnicodeDecodeError, _UnreadableError) as error:
            where = f"{self._endpoint.name} ({self._endpoint.url})"
            raise EndpointError(f"{where}: sent what its protocol does not have ({error}); look at its log") from error


def _named(error: openai.APIError, endpoint: Endpoint, model: str) -> BezelError:
    """The error of ours that says what an endpoint answered."""
    import openai

    where = f"{endpoint.name} ({endpoint.url})"
    if isinstance(error, openai.APITimeoutError):
        return EndpointError(f"{where}: did not answer in time; try again, or ask for fewer tokens")
    if isinstance(error, openai.APIConnectionError):
        return EndpointError(f"{where}: cannot be reached; start it, or give another base_url")
    said = error.message
    if not isinstance(error, openai.APIStatusError):
        return EndpointError(f"{where}: broke its answer off ({said}); try again")
    status = error.status_code
    if status in (401, 403):
        variable = endpoint.key_variable or "api_key"
        return AccessDeniedError(f"{where}: refuses the key ({said}); look at {variable}")
    if status == 404:
        return UnknownModelError(f"{where}: does not know {model} ({said}); ask for a model that it serves")
    if status in (429, 503):
        return OverloadedError(f"{where}: has no room now ({said}); wait and try again", _seconds(error.response))
    if status >= 500:
        return EndpointError(f"{where}: failed with {status} ({said}); try again, or look at its log")
    too_long = error.code == "context_length_exceeded"
    return (ContextLengthError if too_long else InvalidRequestError)(f"{where}: refuses the request ({said})")


def _seconds(response: Any) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.replace(".", "", 1).isdigit() else None


class RemoteEvents:
    """The events of one request. `ask` sends it, when the first event is wanted; any thread may close it."""

    def __init__(self, ask: Callable[[], Any], named_errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._closed = False
        self._response: Any = None
        self._events = self._read(ask, named_errors)

    def __iter__(self) -> RemoteEvents:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Hang up, which tells the endpoint to stop; who waits for the next event gets the end."""
        self._closed = True
        if self._response is not None:
            stream = self._response.extensions["network_stream"]
            with suppress(OSError):  # it hung up first
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        with suppress(ValueError):  # another thread is inside of it, and leaves by itself
            self._events.close()

    def _read(
        self, ask: Callable[[], Any], named_errors: Callable[[], AbstractContextManager[None]]
    ) -> Generator[Event, None, None]:
        incoming = _Incoming(time.perf_counter())
        try:
            with named_errors(), ask() as chunks:
                self._response = chunks.response
                for chunk in chunks:
                    if self._closed:
                        return
                    yield from incoming.read(chunk)
            yield from incoming.close()
        except EndpointError:
            if not self._closed:
                raise


class _UnreadableError(Exception):
    """An event of another shape than the protocol's."""


class _Incoming:
    """From chunks of an answer to its events. `began` is when it was asked for, by perf_counter."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._first: float | None = None
        self._reason: str | None = None
        self._usage: Any = None
        self._names: list[str] = []
        self._arguments: list[list[str]] = []

    def read(self, chunk: Any) -> list[Event]:
        """The events of one chunk. Raises _UnreadableError where it has another shape than the protocol's."""
        try:
            return list(self._take(chunk))
        except (AttributeError, IndexError, TypeError, ValueError) as error:  # the client checks no shapes
            raise _UnreadableError(str(error)) from error

    def _take(self, chunk: Any) -> Iterator[Event]:
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices:
            self._reason = choice.finish_reason or self._reason
            delta = getattr(choice, "delta", None)
            text = (choice.text if delta is None else delta.content) or ""
            if not isinstance(text, str):
                raise TypeError(f"a piece of text is a {type(text).__name__}")
            tokens = tuple(_logprobs(choice.logprobs)) if choice.logprobs else ()
            if text or tokens:
                self._first = self._first or time.perf_counter()
                yield Delta(text, tokens)
            for call in (delta.tool_calls if delta is not None else None) or ():
                self._first = self._first or time.perf_counter()
                yield from self._call(call)

    def _call(self, call: Any) -> Iterator[Event]:
        function = call.function
        while len(self._names) <= call.index:
            self._names.append("")
            self._arguments.append([])
        if function is not None and function.name and not self._names[call.index]:
            self._names[call.index] = function.name
            yield CallStarted(call.index, function.name)
        if function is not None and function.arguments:
            self._arguments[call.index].append(function.arguments)
            yield CallDelta(call.index, function.arguments)

    def close(self) -> Iterator[Event]:
        """What ends the answer. Raises ContentBlockedError and EndpointError where it has no end."""
        if self._reason == "content_filter":
            raise ContentBlockedError("the endpoint's content filter ended the answer; ask in other words")
        if self._reason is None:
            raise EndpointError("the answer broke off without an end; try again")
        for index, (name, pieces) in enumerate(zip(self._names, self._arguments, strict=True)):
            yield _finished(index, name, "".join(pieces))
        reason: FinishReason = "length" if self._reason == "length" else "stop"
        ended = time.perf_counter()
        first = self._first or ended
        used = self._usage
        cached = getattr(getattr(used, "prompt_tokens_details", None), "cached_tokens", None) or 0
        read, written = (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
        yield Finish(reason, Usage(read, written, first - self._began, ended - first, cached))


def _finished(index: int, name: str, source: str) -> CallFinished | CallBroken:
    try:
        arguments = json.loads(source or "{}")
    except ValueError as error:
        return CallBroken(index, name, source, f"its arguments are not JSON ({error})")
    if not isinstance(arguments, dict):
        return CallBroken(index, name, source, "its arguments are not an object")
    return CallFinished(index, Call(name, arguments))


def _logprobs(found: Any) -> Iterator[TokenLogprob]:
    """Of a chat, or of a completion."""
    if hasattr(found, "content"):
        for each in found.content or ():
            top = tuple((NO_ID, other.token, other.logprob) for other in each.top_logprobs or ())
            yield TokenLogprob(NO_ID, each.token, each.logprob, top)
        return
    for place, token in enumerate(found.tokens or ()):
        others = (found.top_logprobs or [])[place : place + 1]
        top = tuple((NO_ID, text, logprob) for text, logprob in (others[0] or {}).items()) if others else ()
        yield TokenLogprob(NO_ID, token, found.token_logprobs[place], top)
