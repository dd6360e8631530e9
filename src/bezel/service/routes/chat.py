"""POST /v1/chat/completions."""

from __future__ import annotations

from contextlib import aclosing

from fastapi import APIRouter, Request, Response

from bezel.service.answers import answering, several
from bezel.service.exchange import exchange_of
from bezel.service.input_policy import InputPolicy
from bezel.service.replies import chat as replies
from bezel.service.requests.chat import ChatRequest
from bezel.service.responses import EventStream, json_response, unless_gone
from bezel.service.scopes import needs
from bezel.service.server import server_of

router = APIRouter()


@router.post("/v1/chat/completions")
@needs("generate")
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation, whole or while the answer is written."""
    server, exchange, count = server_of(request), exchange_of(request.scope), body.n or 1
    served, policy = server.model(body.model), InputPolicy(server.settings.max_text_chars)
    requests = several(body.request(served.backend, policy), count)
    policy.note(exchange)
    answers = await unless_gone(request, answering(server, served, exchange, requests))
    logprobs = bool(body.logprobs)
    if body.stream:
        chunks = replies.chunks(answers, served.name, count, logprobs, body.include_usage)
        return EventStream(answers, chunks)
    async with aclosing(answers):
        return json_response(await unless_gone(request, replies.whole(answers, served.name, count, logprobs)))
