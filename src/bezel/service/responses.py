"""Responses that end when the client goes: whole ones in JSON, and streams of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bezel.service.answers import Answers
from bezel.service.errors import ApiError, told
from bezel.service.exchange import Exchange, exchange_of

Result = TypeVar("Result")
PING_SECONDS = 10.0
"""A stream on which nothing happens says so every so often."""
_BLOCK = 4 << 10
_STREAM = "bezel.stream"


def json_response(value: Any, status: int = 200) -> Response:
    """What msgspec can write, as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def unless_gone(request: HttpRequest, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of some work, which is cancelled when the client goes: ApiError "gone"."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError("gone")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True)
class Framing:
    """How the chunks of a stream are told apart. With `named` each is an event by the name of its "type"."""

    media_type: str
    before: bytes
    behind: bytes
    end: bytes
    ping: bytes
    """Sent where nothing happens; readers skip it."""
    named: bool = False

    def framed(self, chunk: bytes, kind: str | None = None) -> bytes:
        """An encoded chunk, as it is sent."""
        name = f"event: {kind}\n".encode() if self.named and kind else b""
        return name + self.before + chunk + self.behind


EVENTS = Framing("text/event-stream", b"data: ", b"\n\n", b"data: [DONE]\n\n", b": ping\n\n")
NAMED_EVENTS = replace(EVENTS, named=True)
LINES = Framing("application/x-ndjson", b"", b"\n", b"", b"\n")


class EventStream(Response):
    """Chunks of answers as server-sent events, then `[DONE]`, or in another framing; an error is the last before it.

    As a response it only takes its place in the ASGI scope. `sent_behind` sends it when the layers and the route have
    returned, so that neither they nor what was asked is held for as long as the answer is written. The answers are
    closed at the end, and when the client goes.
    """

    def __init__(self, answers: Answers, chunks: AsyncIterator[Any], framing: Framing = EVENTS) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type=framing.media_type)
        del self.headers["content-length"]
        self._answers, self._chunks, self._framing = answers, chunks, framing
        self._sent = False
        self._ping: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI response."""
        scope[_STREAM] = partial(self._run, exchange_of(scope), receive, send)

    async def _run(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        gone.add_done_callback(self._gone)
        self._watch(send)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for block in self._blocks(exchange):
                self._sent = True
                await send({"type": "http.response.body", "body": block, "more_body": True})
            self._unwatch()
            await send({"type": "http.response.body", "body": self._framing.end})
        finally:
            self._unwatch()
            gone.cancel()
            await self._answers.aclose()

    def _gone(self, watching: asyncio.Future[None]) -> None:
        if not watching.cancelled():
            self._answers.stop(ApiError("gone"))

    def _watch(self, send: Send) -> None:
        """Look every so often whether anything was sent; a timer costs less than a task that sleeps."""
        self._timer = asyncio.get_running_loop().call_later(PING_SECONDS, self._look, send)

    def _look(self, send: Send) -> None:
        if not self._sent and (self._ping is None or self._ping.done()):
            body = {"type": "http.response.body", "body": self._framing.ping, "more_body": True}
            self._ping = asyncio.ensure_future(send(body))
        self._sent = False
        self._watch(send)

    def _unwatch(self) -> None:
        for each in (self._timer, self._ping):
            if each is not None:
                each.cancel()

    async def _blocks(self, exchange: Exchange) -> AsyncIterator[bytes]:
        """Events; those that have come already are sent together."""
        encoder, block = msgspec.json.Encoder(), bytearray()
        try:
            async for chunk in self._chunks:
                kind = chunk.get("type") if isinstance(chunk, dict) else None
                block += self._framing.framed(encoder.encode(chunk), kind)
                if not self._answers.more or len(block) >= _BLOCK:
                    yield bytes(block)
                    block.clear()
        except Exception as error:
            refusal = told(error)
            exchange.failed(error, refusal)
            block += self._framing.framed(refusal.body(exchange.request_id), "error")
        if block:
            yield bytes(block)


async def sent_behind(scope: Scope) -> None:
    """Send the stream that the route has left in a scope, if it has."""
    stream = scope.pop(_STREAM, None)
    if stream is not None:
        await stream()
