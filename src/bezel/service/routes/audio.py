"""POST /v1/audio/transcriptions and /v1/audio/translations."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from fastapi import APIRouter, Request, Response

from bezel.backends.interface import Hearer
from bezel.service.description import form
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange, exchange_of
from bezel.service.forms import read_form
from bezel.service.hearing import Recording
from bezel.service.requests.audio import TranscriptionRequest, TranslationRequest
from bezel.service.responses import unless_gone
from bezel.service.scopes import FORM, needs
from bezel.service.screens import screening
from bezel.service.server import Server, server_of
from bezel.service.work import working
from bezel.text.subtitles import Transcription

router = APIRouter()
_TYPES = {"json": "application/json", "verbose_json": "application/json", "vtt": "text/vtt"}


@router.post("/v1/audio/transcriptions", openapi_extra=form(TranscriptionRequest))
@needs("generate", takes=FORM)
async def transcriptions(request: Request) -> Response:
    """What is said in a recording."""
    body, file = await read_form(request, TranscriptionRequest)
    return await _reply(request, body, file, body.language, None)


@router.post("/v1/audio/translations", openapi_extra=form(TranslationRequest))
@needs("generate", takes=FORM)
async def translations(request: Request) -> Response:
    """What is said in a recording, in English."""
    body, file = await read_form(request, TranslationRequest)
    return await _reply(request, body, file, None, "en")


async def _reply(
    request: Request, body: TranslationRequest, file: bytes, language: str | None, into: str | None
) -> Response:
    server, exchange = server_of(request), exchange_of(request.scope)
    heard = await unless_gone(request, _hear(server, exchange, body, file, language, into))
    form = body.response_format
    return Response(heard.write(form), media_type=_TYPES.get(form, "text/plain"))


async def _hear(
    server: Server, exchange: Exchange, body: TranslationRequest, file: bytes, language: str | None, into: str | None
) -> Transcription:
    served, loop = server.model(body.model), asyncio.get_running_loop()
    exchange.model = served.name
    if not isinstance(served.backend, Hearer):
        raise ApiError("unsupported_input", "It does not hear; ask a Gemma 3n.", "model")
    sampling = replace(served.backend.sampling, temperature=body.temperature)
    recording = await loop.run_in_executor(
        server.side, Recording.opened, served.backend, file, language, into, sampling
    )
    counted = server.limits.counts_tokens(exchange)
    tokens = await loop.run_in_executor(server.side, recording.tokens, served.backend) if counted else 0
    stream = screening(server, served, exchange, streamed=False, judge_request=False)  # the question is ours
    return await working(server, served, exchange, tokens, partial(recording.write_down, stream))
