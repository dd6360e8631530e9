"""Bodies become requests to a model: their texts pass the policies first, and what was done is noted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from bezel.safety.content import Note
from bezel.safety.rules import Side
from bezel.safety.settings import Action
from bezel.service.exchange import Exchange
from bezel.service.input_policy import InputPolicy
from bezel.service.server import Server

Result = TypeVar("Result")


async def reading(server: Server, exchange: Exchange, read: Callable[[InputPolicy], Result]) -> Result:
    """What `read` makes of a body with the policy for its texts. Raises as it, and ContentBlockedError.

    Where texts are searched a thread does it, so that a long one holds up nobody.
    """
    policy = InputPolicy(server.settings.max_text_chars, server.policy, noting(server, exchange))
    try:
        if server.policy.looks_at_requests:
            return await asyncio.get_running_loop().run_in_executor(server.side, read, policy)
        return read(policy)
    finally:
        policy.note(exchange)


def noting(server: Server, exchange: Exchange) -> Note:
    """Counts what rules find, by their names, and has the log name them."""

    def note(name: str, action: Action, side: Side) -> None:
        exchange.rules[name] = None
        server.metrics.policy.labels(name, action, side).inc()

    return note
