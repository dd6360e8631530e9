"""Refuses requests for other names than the server's, which a page of a stranger sends after rebinding its own."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from bezel.service.errors import ApiError
from bezel.service.layers.common import header, refuse
from bezel.service.server import Server


class Hosts:
    """Compares the Host header, without its port."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in server.settings.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http" and self._names and name_of(header(scope, b"host") or "") not in self._names:
            await refuse(ApiError("not_a_host"), scope, receive, send)
            return
        await self._app(scope, receive, send)


def name_of(host: str) -> str:
    """A Host header's name: "[::1]:8000" is "::1". What is no such header is given back as it is."""
    host = host.lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return name if bracket and (not port or (port[0] == ":" and port[1:].isdigit())) else host
    name, colon, port = host.partition(":")
    return name if not colon or port.isdigit() else host
