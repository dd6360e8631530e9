"""How the application is run by uvicorn, for `bezel serve` and for whatever measures it."""

from __future__ import annotations

import asyncio
import logging

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from bezel.service.settings import ServerSettings

_GRACE_SECONDS = 30
_KEEP_SECONDS = 30  # longer than clients keep idle connections, so that none is closed under a request

_MOST_UNSENT, _LEAST_UNSENT = 16 << 10, 12 << 10
"""Bytes of a connection that are kept here when the kernel takes no more, and at which there is room again.

asyncio would keep 64 KiB and send no more until 48 KiB are gone: who reads 1 KiB a second would seem to read nothing.
"""


class Protocol(H11Protocol):
    """HTTP that keeps little for slow readers, and sees early that they read: they are told from those who do not."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(_MOST_UNSENT, _LEAST_UNSENT)


def configuration(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    """Libraries stay silent below errors: their lines quote what clients send, and what a request was the log says."""
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ssl_certfile=settings.ssl_certfile,
        ssl_keyfile=settings.ssl_keyfile,
        access_log=False,
        log_level="error",
        ws="none",
        server_header=False,
        timeout_keep_alive=_KEEP_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
