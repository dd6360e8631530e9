"""POST /v1/completions."""

from __future__ import annotations

from contextlib import aclosing

from fastapi import APIRouter, Request, Response

from bezel.backends.interface import Request as BackendRequest
from bezel.service.answers import Answers, answering, several
from bezel.service.exchange import Exchange, exchange_of
from bezel.service.reading import reading
from bezel.service.replies import completions as replies
from bezel.service.requests.completions import CompletionRequest
from bezel.service.responses import EventStream, json_response, unless_gone
from bezel.service.scopes import needs
from bezel.service.server import Served, Server, server_of

router = APIRouter()


@router.post("/v1/completions")
@needs("generate")
async def completions(body: CompletionRequest, request: Request) -> Response:
    """Continue texts, whole or while the answer is written."""
    server, exchange = server_of(request), exchange_of(request.scope)
    if not body.stream:
        return json_response(await unless_gone(request, complete(server, exchange, body)))
    answers, echoes = await unless_gone(request, begin(server, exchange, body))
    chunks = replies.chunks(answers, body.model, echoes, body.logprobs is not None, body.include_usage)
    return EventStream(answers, chunks)


async def begin(server: Server, exchange: Exchange, body: CompletionRequest) -> tuple[Answers, list[str]]:
    """The answers to a body, begun (see `answering`), and what is echoed before each."""
    served = server.model(body.model)
    prompts = await reading(server, exchange, lambda policy: body.requests(served.backend, policy))
    requests = [one for asked in prompts for one in several(asked, body.n or 1)]
    echoes = [_text(served, one) if body.echo else "" for one in requests]
    return await answering(server, served, exchange, requests, bool(body.stream)), echoes


async def complete(server: Server, exchange: Exchange, body: CompletionRequest) -> replies.Completion:
    """The whole reply to a body."""
    answers, echoes = await begin(server, exchange, body)
    async with aclosing(answers):
        return await replies.whole(answers, body.model, echoes, body.logprobs is not None)


def _text(served: Served, request: BackendRequest) -> str:
    """A request's prompt as text."""
    return request.prompt if isinstance(request.prompt, str) else served.backend.text_of(request.prompt or ())
