"""GET /v1/monitor and /health/deep: how the server does, for people and for machines that ask more than /health."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from bezel.service.responses import json_response
from bezel.service.scopes import needs
from bezel.service.server import Server, server_of

router = APIRouter()


@router.get("/v1/monitor")
@needs("metrics")
async def monitor(request: Request) -> Response:
    """A summary of the last minutes, alerts, what each key has used, and a series for plots."""
    server = server_of(request)
    used = await asyncio.get_running_loop().run_in_executor(server.side, _usage, server)
    summary, alerts = server.watch.look()
    more = {"time": time.time(), "alerts": alerts, "usage": used, "series": server.watch.history()}
    return json_response({**asdict(summary), **more})


@router.get("/health/deep")
@needs("metrics")
async def deep(request: Request) -> Response:
    """Whether every model gives a token, and in what time: 503 where one does not."""
    server, began = server_of(request), time.monotonic()
    backends = {name: served.backend for name, served in server.models.items()}
    health, models = await server.watch.health(backends, server.probing)
    found = {**asdict(health), "seconds": time.monotonic() - began, "models": models}
    return json_response(found, 503 if health.status == "unhealthy" else 200)


def _usage(server: Server) -> list[dict[str, Any]]:
    """Of all keys that have used something, since there is a record."""
    if server.usage is None or server.keys is None:
        return []
    names = {key.id: key.name for key in server.keys.list()}
    sums = server.usage.by_key()
    return [{"key_id": key_id, "name": names.get(key_id, key_id), **asdict(used)} for key_id, used in sums.items()]
