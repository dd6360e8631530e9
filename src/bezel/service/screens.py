"""Streams of backends behind the content policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from bezel.backends.interface import Events, Request
from bezel.safety.screening import Screened
from bezel.service.exchange import Exchange
from bezel.service.reading import noting
from bezel.service.server import Served, Server

Stream: TypeAlias = Callable[[Request], Events]
"""`Backend.stream`, or what stands before it."""


def screening(server: Server, served: Served, exchange: Exchange, streamed: bool, judge_request: bool = True) -> Stream:
    """The model's stream as the policy of now lets it through; see `Screened`."""
    policy, note = server.policy, noting(server, exchange)
    if not policy.looks_at_answers:
        return served.backend.stream
    return lambda request: Screened(policy, served.backend, request, note, streamed, judge_request)
