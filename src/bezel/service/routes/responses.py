"""POST /v1/responses."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response

from bezel.service.answers import Answers, answering
from bezel.service.exchange import Exchange, exchange_of
from bezel.service.reading import reading
from bezel.service.replies import responses as replies
from bezel.service.requests.responses import InputTokensRequest, ResponseRequest
from bezel.service.responses import NAMED_EVENTS, EventStream, json_response, unless_gone
from bezel.service.scopes import needs
from bezel.service.server import Server, server_of

router = APIRouter()


@router.post("/v1/responses")
@needs("generate")
async def responses(body: ResponseRequest, request: Request) -> Response:
    """Answer a conversation of items, whole or while the answer is written."""
    server, exchange = server_of(request), exchange_of(request.scope)
    if not body.stream:
        return json_response(await unless_gone(request, complete(server, exchange, body)))
    answers = await unless_gone(request, _begin(server, exchange, body))
    return EventStream(answers, replies.events(answers, body), NAMED_EVENTS)


@router.post("/v1/responses/input_tokens")
@needs("tokenize")
async def input_tokens(body: InputTokensRequest, request: Request) -> Response:
    """How many tokens a request would have the model read."""
    server, exchange = server_of(request), exchange_of(request.scope)
    served = server.model(body.model)
    exchange.model = served.name
    asked = await reading(server, exchange, lambda policy: body.request(served.backend, policy))
    ids = await asyncio.get_running_loop().run_in_executor(server.side, served.backend.prompt_ids, asked)
    return json_response({"object": "response.input_tokens", "input_tokens": len(ids)})


async def _begin(server: Server, exchange: Exchange, body: ResponseRequest) -> Answers:
    served = server.model(body.model)
    asked = await reading(server, exchange, lambda policy: body.request(served.backend, policy))
    return await answering(server, served, exchange, [asked], bool(body.stream))


async def complete(server: Server, exchange: Exchange, body: ResponseRequest) -> dict[str, Any]:
    """The whole reply to a body."""
    async with aclosing(await _begin(server, exchange, body)) as answers:
        return await replies.whole(answers, body)
