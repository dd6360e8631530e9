"""Counts the requests of each key."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from bezel.service.errors import ApiError
from bezel.service.exchange import exchange_of
from bezel.service.layers.common import refuse
from bezel.service.scopes import OPEN, matched, scope_of
from bezel.service.server import Server


class Rates:
    """Whether the server lives may be asked at any rate, and how it is also where the counts cannot be reached."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._limits = app, server.limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http" and not _open(scope):
            exchange = exchange_of(scope)
            try:
                await self._limits.request(exchange)
            except ApiError as error:
                if error.name != "uncounted" or exchange.scope != "metrics":
                    await refuse(error, scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _open(scope: Scope) -> bool:
    route = matched(scope["app"].routes, scope)
    return route is not None and scope_of(route) == OPEN
