"""POST /v1/completions."""

from __future__ import annotations

from contextlib import aclosing

from fastapi import APIRouter, Request, Response

from bezel.backends.interface import Request as BackendRequest
from bezel.service.answers import answering, several
from bezel.service.exchange import exchange_of
from bezel.service.input_policy import InputPolicy
from bezel.service.replies import completions as replies
from bezel.service.requests.completions import CompletionRequest
from bezel.service.responses import EventStream, json_response, unless_gone
from bezel.service.scopes import needs
from bezel.service.server import Served, server_of

router = APIRouter()


@router.post("/v1/completions")
@needs("generate")
async def completions(body: CompletionRequest, request: Request) -> Response:
    """Continue texts, whole or while the answer is written."""
    server, exchange, count = server_of(request), exchange_of(request.scope), body.n or 1
    served, policy = server.model(body.model), InputPolicy(server.settings.max_text_chars)
    requests = [one for asked in body.requests(served.backend, policy) for one in several(asked, count)]
    policy.note(exchange)
    echoes = [_text(served, one) if body.echo else "" for one in requests]
    answers = await unless_gone(request, answering(server, served, exchange, requests))
    logprobs = body.logprobs is not None
    if body.stream:
        chunks = replies.chunks(answers, served.name, echoes, logprobs, body.include_usage)
        return EventStream(answers, chunks)
    async with aclosing(answers):
        return json_response(await unless_gone(request, replies.whole(answers, served.name, echoes, logprobs)))


def _text(served: Served, request: BackendRequest) -> str:
    """A request's prompt as text."""
    return request.prompt if isinstance(request.prompt, str) else served.backend.text_of(request.prompt or ())
