"""What is known of one HTTP request while it is answered, for headers, logs and metrics."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from bezel.service.errors import ApiError
from bezel.service.keys import Key

NAME = "bezel.exchange"
"""Where an ASGI scope holds it."""


@dataclass
class Exchange:
    """Made by the first layer; the others fill it in. `headers` are added to the response."""

    request_id: str
    method: str
    started: float = field(default_factory=time.perf_counter)
    route: str = "unknown"
    scope: str | None = None
    """What the route needs; None where nothing is served."""
    key: Key | None = None
    client: str = ""
    model: str | None = None
    status: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    queue_seconds: float | None = None
    first_token_seconds: float | None = None
    content_sha256: str | None = None
    changes: tuple[str, ...] = ()
    rules: dict[str, None] = field(default_factory=dict)
    """Names of rules that found something."""
    error: str | None = None
    cause: str | None = None
    finish_reasons: tuple[str, ...] = ()
    """Of the answers, in their order."""
    server: tuple[str, int] = ("", 0)
    """The address at which it came."""
    trace: dict[str, str] = field(default_factory=dict)
    """Headers that say what it belongs to, where requests are traced."""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def who(self) -> str:
        """Whose limits hold: the key's, or where there are no keys the address's."""
        return self.key.id if self.key else f"address {self.client}"

    def failed(self, error: Exception, told: ApiError) -> None:
        """Note an error: its code, and of what was not foreseen the kind and the place, never its words."""
        self.error = told.kind.code
        if told.kind.status >= 500:
            self.cause = f"{type(error).__name__} at {_place(error)}"


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    """The exchange of an ASGI scope."""
    found: Exchange = scope[NAME]
    return found


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return "unknown"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
