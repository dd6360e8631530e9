"""POST /v1/embeddings."""

from __future__ import annotations

import asyncio

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from bezel.backends.interface import Embedder
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange, exchange_of
from bezel.service.reading import reading
from bezel.service.replies.embeddings import Embeddings
from bezel.service.replies.embeddings import embeddings as reply
from bezel.service.requests.embeddings import EmbeddingRequest
from bezel.service.responses import json_response, unless_gone
from bezel.service.scopes import needs
from bezel.service.server import Server, server_of
from bezel.service.work import Effort, working

router = APIRouter()
_AT_ONCE = 16  # texts between two looks whether somebody still waits


@router.post("/v1/embeddings")
@needs("generate")
async def embeddings(body: EmbeddingRequest, request: Request) -> Response:
    """Texts as vectors of length 1."""
    server, exchange = server_of(request), exchange_of(request.scope)
    return json_response(await unless_gone(request, embed(server, exchange, body)))


async def embed(server: Server, exchange: Exchange, body: EmbeddingRequest) -> Embeddings:
    """The reply to a body. Raises ApiError for a model that embeds nothing, and what `Embedder.embed` raises."""
    served = server.model(body.model)
    exchange.model = served.name
    embedder = served.backend
    if not isinstance(embedder, Embedder):
        raise ApiError("unsupported_input", "It writes and embeds nothing; ask one that does.", "model")
    texts = await reading(server, exchange, lambda policy: [policy.text(text) for text in body.texts])
    counts = await asyncio.get_running_loop().run_in_executor(server.side, embedder.token_counts, texts, body.task)

    def work(effort: Effort) -> NDArray[np.float32]:
        rows = []
        for first in range(0, len(texts), _AT_ONCE):
            effort.check()
            rows.append(embedder.embed(texts[first : first + _AT_ONCE], body.task, body.dimensions))
            effort.prompt_tokens += sum(counts[first : first + _AT_ONCE])
        return np.concatenate(rows)

    rows = await working(server, served, exchange, sum(counts), work)
    return reply(rows, served.name, sum(counts), body.encoding_format == "base64")
