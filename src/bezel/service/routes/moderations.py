"""POST /v1/moderations."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from bezel.service.exchange import Exchange, exchange_of
from bezel.service.input_policy import InputPolicy
from bezel.service.moderating import Judges
from bezel.service.replies.moderations import moderation
from bezel.service.requests.moderations import ModerationRequest
from bezel.service.responses import json_response, unless_gone
from bezel.service.scopes import needs
from bezel.service.server import Server, server_of
from bezel.service.work import working

router = APIRouter()


@router.post("/v1/moderations")
@needs("generate")
async def moderations(body: ModerationRequest, request: Request) -> Response:
    """What the rules and the guard find in texts and images."""
    server, exchange = server_of(request), exchange_of(request.scope)
    return json_response(await unless_gone(request, _moderate(server, exchange, body)))


async def _moderate(server: Server, exchange: Exchange, body: ModerationRequest) -> dict[str, Any]:
    judges = Judges(server.policy, server.guard_lanes)
    judges.check_name(body.model)
    policy = InputPolicy(server.settings.max_text_chars)  # the rules judge here, and refuse nothing
    inputs = [[policy.text(each) if isinstance(each, str) else each for each in together] for together in body.things]
    policy.note(exchange)
    judges.check(inputs)
    counted = server.limits.counts_tokens(exchange)
    loop = asyncio.get_running_loop()
    tokens = await loop.run_in_executor(server.side, judges.tokens, inputs) if counted else 0
    findings = await working(server, judges, exchange, tokens, partial(judges.judge, inputs))
    return moderation(judges.name, findings)
