"""Responses that end when the client goes: whole ones in JSON, and streams of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
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


class EventStream(Response):
    """Chunks of answers as server-sent events, then `[DONE]`; an error is the last event before it.

    The answers are closed at the end, and when the client goes.
    """

    media_type = "text/event-stream"

    def __init__(self, answers: Answers, chunks: AsyncIterator[Any]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._answers, self._chunks = answers, chunks

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
        async for block in self._blocks(scope):
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _blocks(self, scope: Scope) -> AsyncIterator[bytes]:
        encoder, chunks = msgspec.json.Encoder(), aiter(self._chunks)
        coming: asyncio.Task[Any] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(chunks))
                await asyncio.wait({coming}, timeout=PING_SECONDS)
                if not coming.done():
                    yield b": ping\n\n"
                    continue
                chunk, coming = coming.result(), None
                yield b"data: " + encoder.encode(chunk) + b"\n\n"
        except StopAsyncIteration:
            return
        except Exception as error:
            exchange, refusal = exchange_of(scope), told(error)
            exchange.failed(error, refusal)
            yield b"data: " + refusal.body(exchange.request_id) + b"\n\n"
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
