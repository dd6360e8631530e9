"""The first layer: a request's id, its headers, its line in the log, its numbers, and errors that nobody foresaw."""

from __future__ import annotations

import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bezel.service.errors import ApiError
from bezel.service.exchange import NAME, Exchange
from bezel.service.layers.common import header, refuse
from bezel.service.responses import sent_behind
from bezel.service.server import Server

_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_CONTEXT = (b"traceparent", b"tracestate")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


class Observing:
    """An `x-request-id` of the client is taken where it is a plain word. Websockets are closed."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = header(scope, b"x-request-id") or ""
        identity = given if _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        exchange = Exchange(identity, method, client=(scope.get("client") or ("unknown",))[0])
        if self._server.tracing is not None:
            host, port = scope.get("server") or ("", None)
            exchange.server = host, port or 0
            exchange.trace = {name.decode(): header(scope, name) or "" for name in _CONTEXT}
        scope[NAME] = exchange

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                milliseconds = round(1000 * (time.perf_counter() - exchange.started))
                own = {"x-request-id": identity, "openai-processing-ms": str(milliseconds), **exchange.headers}
                own["x-content-type-options"] = "nosniff"
                if not any(name.lower() == b"cache-control" for name, _ in message.get("headers", ())):
                    own["cache-control"] = "no-store"
                encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in own.items()]
                message["headers"] = [*message.get("headers", ()), *encoded]
            await send(message)

        try:
            await self._app(scope, receive, sending)
            await sent_behind(scope)
        except Exception as error:
            told = ApiError("internal")
            if not exchange.status:
                await refuse(told, scope, receive, sending)
            exchange.failed(error, told)
        finally:
            self._note(exchange)

    def _note(self, exchange: Exchange) -> None:
        metrics = self._server.metrics
        metrics.http_requests.labels(exchange.route, exchange.method, str(exchange.status)).inc()
        metrics.http_seconds.labels(exchange.route).observe(time.perf_counter() - exchange.started)
        self._server.watch.answered(exchange)
        self._server.note(exchange)
