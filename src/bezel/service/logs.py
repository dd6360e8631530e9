"""One line of JSON for each request, of fields that are named here and of no others."""

from __future__ import annotations

import json
import sys
import time
from typing import TextIO

from bezel.service.exchange import Exchange


class RequestLog:
    """Writes to `stream` (default: standard error). Neither content nor keys are among what it can write."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def write(self, exchange: Exchange) -> None:
        """One line; fields without a value are left out."""
        seconds = time.perf_counter() - exchange.started
        fields: dict[str, str | int | float | list[str] | None] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
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
        print(
            json.dumps({name: value for name, value in fields.items() if value is not None}),
            file=self._stream,
            flush=True,
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
