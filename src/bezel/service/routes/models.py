"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from bezel.service.responses import json_response
from bezel.service.scopes import needs
from bezel.service.server import Served, server_of

router = APIRouter()


@router.get("/v1/models")
@needs("models")
async def models(request: Request) -> Response:
    """Every model that is served."""
    return json_response({"object": "list", "data": [_card(each) for each in server_of(request).models.values()]})


@router.get("/v1/models/{name:path}")
@needs("models")
async def model(name: str, request: Request) -> Response:
    """One of them."""
    return json_response(_card(server_of(request).model(name)))


def _card(served: Served) -> dict[str, Any]:
    about = {"id": served.name, "object": "model", "created": served.created, "owned_by": "bezel"}
    described = served.backend.describe()
    taken = ["text", *(kind for kind, has in (("image", "images"), ("audio", "sounds")) if described.get(has))]
    return {**about, "max_model_len": served.context, "modalities": taken}
