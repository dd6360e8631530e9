"""GET /health, /ready, /version and /metrics: what is asked by machines that watch."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bezel import __version__
from bezel.service.description import describe
from bezel.service.responses import json_response
from bezel.service.scopes import OPEN, needs
from bezel.service.server import server_of

router = APIRouter()


@router.get("/health")
@needs(OPEN)
async def health(request: Request) -> Response:
    """The process lives and its loop turns."""
    return json_response({"status": "ok"})


@router.get("/ready")
@needs(OPEN)
async def ready(request: Request) -> Response:
    """Whether a request would be taken now: 503 where every model's queue is full, or its engine is being started."""
    server = server_of(request)
    able = any(served.able for served in server.models.values())
    return json_response({"status": "ready" if able else "busy"}, 200 if able else 503)


@router.get("/version")
@needs("models")
async def version(request: Request) -> Response:
    """The version of bezel."""
    return json_response({"version": __version__})


@router.get("/openapi.json")
@needs("models")
async def openapi(request: Request) -> Response:
    """The description of what is served."""
    return json_response(describe(request.app))


@router.get("/metrics")
@needs("metrics")
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    measured = server_of(request).metrics
    return Response(measured.page(), media_type=measured.content_type)
