"""One line of JSON for each request, of fields that are named here and of no others."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from bezel.service.exchange import Exchange


class RequestLog:
    """Writes to `stream` (default: standard error). Neither content nor keys are among what it can write."""

    def __init__(self, stream: TextIO | None = None, level: str = "info") -> None:
        self._stream = stream or sys.stderr
        self.level = level
        """One of `settings.LOG_LEVELS`."""

    def write(self, exchange: Exchange) -> None:
        """One line, where the level asks for it; fields without a value are left out."""
        if (self.level == "warning" and exchange.error is None) or (self.level == "error" and exchange.cause is None):
            return
        seconds = time.perf_counter() - exchange.started
        fields: dict[str, str | int | float | list[str] | None] = {
            "time": _now(),
            "request_id": exchange.request_id,
            "key_id": exchange.key.id if exchange.key else None,
            "method": exchange.method,
            "route": exchange.route,
            "status": exchange.status,
            "model": exchange.model,
            "prompt_tokens": exchange.prompt_tokens or None,
            "cached_tokens": exchange.cached_tokens or None,
            "completion_tokens": exchange.completion_tokens or None,
            "seconds": round(seconds, 4),
            "queue_seconds": _rounded(exchange.queue_seconds),
            "first_token_seconds": _rounded(exchange.first_token_seconds),
            "content_sha256": exchange.content_sha256,
            "changes": list(exchange.changes) or None,
            "rules": list(exchange.rules) or None,
            "error": exchange.error,
            "cause": exchange.cause,
        }
        self._line(fields)

    def event(self, event: str, detail: str, model: str | None = None) -> None:
        """One line about the server itself; `detail` is of our words and numbers alone."""
        self._line({"time": _now(), "event": event, "model": model, "detail": detail})

    def _line(self, fields: Mapping[str, object]) -> None:
        self._stream.write(json.dumps({name: value for name, value in fields.items() if value is not None}) + "\n")
        self._stream.flush()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
