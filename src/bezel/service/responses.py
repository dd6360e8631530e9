"""Responses that end when the client goes: whole ones in JSON, and streams of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bezel.service.answers import Answers
from bezel.service.errors import ApiError, told
from bezel.service.exchange import exchange_of

Result = TypeVar("Result")
PING_SECONDS = 10.0
"""A stream on which nothing happens says so every so often."""
_BLOCK = 16 << 10


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

    The answers are closed at the end, and when the client goes.
    """

    def __init__(self, answers: Answers, chunks: AsyncIterator[Any], framing: Framing = EVENTS) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type=framing.media_type)
        del self.headers["content-length"]
        self._answers, self._chunks, self._framing = answers, chunks, framing
        self._sent = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI response."""
        work, gone = asyncio.ensure_future(self._send(scope, send)), asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                exchange_of(scope).failed(ApiError("gone"), ApiError("gone"))
            else:
                work.result()
        finally:
            for each in (work, gone):
                each.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            await self._answers.aclose()

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        pings = asyncio.ensure_future(self._ping(send))
        try:
            async for block in self._blocks(scope):
                self._sent = True
                await send({"type": "http.response.body", "body": block, "more_body": True})
        finally:
            pings.cancel()
            await asyncio.gather(pings, return_exceptions=True)
        await send({"type": "http.response.body", "body": self._framing.end})

    async def _ping(self, send: Send) -> None:
        while True:
            self._sent = False
            await asyncio.sleep(PING_SECONDS)
            if not self._sent:
                await send({"type": "http.response.body", "body": self._framing.ping, "more_body": True})

    async def _blocks(self, scope: Scope) -> AsyncIterator[bytes]:
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
            exchange, refusal = exchange_of(scope), told(error)
            exchange.failed(error, refusal)
            block += self._framing.framed(refusal.body(exchange.request_id), "error")
        if block:
            yield bytes(block)
