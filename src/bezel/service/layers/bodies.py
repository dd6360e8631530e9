"""Refuses bodies that are too large, too slow or compressed, before anything reads them."""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bezel.service.errors import ApiError
from bezel.service.layers.common import header, refuse
from bezel.service.server import Server


class Bodies:
    """What is not said in Content-Length is counted while it comes."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = self._refusal(scope)
        if name is not None:
            closing = {"connection": "close"} if name == "two_lengths" else {}
            await refuse(ApiError(name, headers=closing), scope, receive, send)
            return
        settings = self._server.settings
        deadline, seen, whole = time.monotonic() + settings.body_seconds, 0, False

        async def receiving() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.001, deadline - time.monotonic()))
            except TimeoutError:
                raise HTTPException(408) from None
            seen += len(message.get("body", b""))
            if seen > settings.max_body_bytes:
                raise HTTPException(413)
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, receiving, send)

    def _refusal(self, scope: Scope) -> str | None:
        length = header(scope, b"content-length")
        if length is not None and header(scope, b"transfer-encoding") is not None:
            return "two_lengths"
        most = self._server.settings.max_body_bytes
        if length is not None and (not length.isdigit() or len(length) > 18 or int(length) > most):
            return "too_large"
        return "media_type" if header(scope, b"content-encoding") is not None else None
