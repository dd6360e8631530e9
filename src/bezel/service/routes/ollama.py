"""Ollama's addresses, for its clients: /api/chat, generate, tags, show and version."""

from __future__ import annotations

import hashlib
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from bezel import __version__
from bezel.service.answers import Answers, answering
from bezel.service.exchange import Exchange, exchange_of
from bezel.service.reading import reading
from bezel.service.replies import ollama as replies
from bezel.service.requests.ollama import ChatRequest, GenerateRequest, ShowRequest
from bezel.service.responses import LINES, EventStream, json_response, unless_gone
from bezel.service.scopes import needs
from bezel.service.server import Served, Server, server_of

router = APIRouter()
_LATEST = ":latest"  # what Ollama's clients put behind names


@router.post("/api/chat")
@needs("generate")
async def chat(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation, by default while the answer is written."""
    return await _reply(body, request)


@router.post("/api/generate")
@needs("generate")
async def generate(body: GenerateRequest, request: Request) -> Response:
    """Answer one message or, raw, continue a text. Without a prompt: whether the model is there."""
    if not body.prompt and not body.images:
        _served(server_of(request), body.model)
        about = {"model": body.model, "created_at": replies.written_at(), "response": ""}
        return json_response({**about, "done": True, "done_reason": "load"})
    return await _reply(body, request)


@router.get("/api/tags")
@needs("models")
async def tags(request: Request) -> Response:
    """Every model that is served."""
    return json_response({"models": [_card(served) for served in server_of(request).models.values()]})


@router.post("/api/show")
@needs("models")
async def show(body: ShowRequest, request: Request) -> Response:
    """What one of them is and can."""
    served = _served(server_of(request), body.model)
    about = served.backend.describe()
    able = ["embedding"] if "dimensions" in about else ["completion", "tools"]
    able += ["vision"] if about.get("images") else []
    info = {"general.architecture": "gemma", "gemma.context_length": served.context}
    card = _card(served)
    more = {"modelfile": "", "parameters": "", "template": "", "model_info": info, "capabilities": able}
    return json_response({"modified_at": card["modified_at"], "details": card["details"], **more})


@router.get("/api/version")
@needs("models")
async def version(request: Request) -> Response:
    """The version of bezel."""
    return json_response({"version": __version__})


async def _reply(body: ChatRequest | GenerateRequest, request: Request) -> Response:
    server, exchange, began = server_of(request), exchange_of(request.scope), time.perf_counter()
    chat = isinstance(body, ChatRequest)
    if not body.stream:
        return json_response(await unless_gone(request, _complete(server, exchange, body, chat, began)))
    answers = await unless_gone(request, _begin(server, exchange, body))
    return EventStream(answers, replies.chunks(answers, body.model, chat, began), LINES)


async def _begin(server: Server, exchange: Exchange, body: ChatRequest | GenerateRequest) -> Answers:
    served = _served(server, body.model)
    asked = await reading(server, exchange, lambda policy: body.request(served.backend, served.context, policy))
    return await answering(server, served, exchange, [asked], body.stream)


async def _complete(
    server: Server, exchange: Exchange, body: ChatRequest | GenerateRequest, chat: bool, began: float
) -> dict[str, Any]:
    async with aclosing(await _begin(server, exchange, body)) as answers:
        return await replies.whole(answers, body.model, chat, began)


def _served(server: Server, name: str) -> Served:
    return server.model(name if name in server.models else name.removesuffix(_LATEST))


def _card(served: Served) -> dict[str, Any]:
    created = datetime.fromtimestamp(served.created, UTC).isoformat().replace("+00:00", "Z")
    details = {"format": "", "family": "gemma", "families": ["gemma"], "parameter_size": "", "quantization_level": ""}
    digest = hashlib.sha256(served.name.encode()).hexdigest()  # of the name: clients compare them, and read no more
    about = {"name": served.name, "model": served.name, "modified_at": created, "size": 0, "digest": digest}
    return {**about, "details": details}
