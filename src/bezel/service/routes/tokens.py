"""POST /tokenize and /detokenize."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from bezel.service.exchange import exchange_of
from bezel.service.reading import reading
from bezel.service.requests.tokens import DetokenizeRequest, TokenizeRequest
from bezel.service.responses import json_response
from bezel.service.scopes import needs
from bezel.service.server import server_of

router = APIRouter()


@router.post("/tokenize")
@needs("tokenize")
async def tokenize(body: TokenizeRequest, request: Request) -> Response:
    """The token ids that an answer would start from."""
    server, exchange = server_of(request), exchange_of(request.scope)
    served = server.model(body.model)
    exchange.model = served.name
    asked = await reading(server, exchange, body.request)
    ids = await asyncio.get_running_loop().run_in_executor(server.side, served.backend.prompt_ids, asked)
    return json_response({"count": len(ids), "max_model_len": served.context, "tokens": list(ids)})


@router.post("/detokenize")
@needs("tokenize")
async def detokenize(body: DetokenizeRequest, request: Request) -> Response:
    """The text of token ids."""
    server = server_of(request)
    served = server.model(body.model)
    exchange_of(request.scope).model = served.name
    text = await asyncio.get_running_loop().run_in_executor(server.side, served.backend.text_of, body.tokens)
    return json_response({"prompt": text})
