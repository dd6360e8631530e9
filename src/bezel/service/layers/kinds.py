"""Refuses bodies of another media type than the route takes, which only those with a key may learn."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from bezel.service.errors import ApiError
from bezel.service.layers.common import header, refuse
from bezel.service.scopes import matched, takes_of


class Kinds:
    """Compares the Content-Type header, without its parameters, where there is a body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http" and _has_body(scope):
            kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
            if kind != takes_of(matched(scope["app"].routes, scope)):
                await refuse(ApiError("media_type"), scope, receive, send)
                return
        await self._app(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    length = header(scope, b"content-length") or "0"
    return length != "0" or header(scope, b"transfer-encoding") is not None
