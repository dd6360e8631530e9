"""POST /v1/chat/completions."""

from __future__ import annotations

from contextlib import aclosing

from fastapi import APIRouter, Request, Response

from bezel.service.answers import Answers, answering, several
from bezel.service.exchange import Exchange, exchange_of
from bezel.service.reading import reading
from bezel.service.replies import chat as replies
from bezel.service.requests.chat import ChatRequest
from bezel.service.responses import EventStream, json_response, unless_gone
from bezel.service.scopes import needs
from bezel.service.server import Server, server_of

router = APIRouter()


@router.post("/v1/chat/completions")
@needs("generate")
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation, whole or while the answer is written."""
    server, exchange = server_of(request), exchange_of(request.scope)
    if not body.stream:
        return json_response(await unless_gone(request, complete(server, exchange, body)))
    answers = await unless_gone(request, begin(server, exchange, body))
    chunks = replies.chunks(answers, body.model, body.n or 1, bool(body.logprobs), body.include_usage)
    return EventStream(answers, chunks)


async def begin(server: Server, exchange: Exchange, body: ChatRequest) -> Answers:
    """The answers to a body, begun: see `answering`."""
    served = server.model(body.model)
    asked = await reading(server, exchange, lambda policy: body.request(served.backend, policy))
    return await answering(server, served, exchange, several(asked, body.n or 1), bool(body.stream))


async def complete(server: Server, exchange: Exchange, body: ChatRequest) -> replies.Completion:
    """The whole reply to a body."""
    async with aclosing(await begin(server, exchange, body)) as answers:
        return await replies.whole(answers, body.model, body.n or 1, bool(body.logprobs))
