"""Who asks, and whether they may: without a key that has the route's scope nothing is answered."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from bezel.errors import StorageError
from bezel.service.errors import ApiError, told
from bezel.service.exchange import exchange_of
from bezel.service.keys import Key, KeyStore
from bezel.service.layers.common import header, refuse
from bezel.service.scopes import OPEN, matched, scope_of
from bezel.service.server import Server

_LONGEST = 256


class Identity:
    """Addresses that are not served need a key too, so that nobody learns which there are."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._keys = app, server.keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        route = matched(scope["app"].routes, scope)
        exchange.route = route.path if route else "unknown"
        exchange.scope = needed = scope_of(route) if route else None
        if needed != OPEN and self._keys is not None:
            try:
                exchange.key = key_of(header(scope, b"authorization"), self._keys)
                if needed is not None and needed not in exchange.key.scopes:
                    raise ApiError("scope", f"It needs the scope {needed!r}.")
            except (ApiError, StorageError) as error:
                await refuse(told(error), scope, receive, send)
                return
        await self._app(scope, receive, send)


def key_of(authorization: str | None, keys: KeyStore) -> Key:
    """The key of an Authorization header. ApiError where there is none that holds, StorageError as `KeyStore`."""
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise ApiError("no_key")
    key = keys.find(secret.strip()) if len(secret) <= _LONGEST else None
    if key is None:
        raise ApiError("bad_key")
    return key
