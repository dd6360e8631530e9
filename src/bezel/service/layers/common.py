"""What layers share: refusing a request themselves."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from bezel.service.errors import ApiError
from bezel.service.exchange import exchange_of
from bezel.service.refusals import refusal


async def refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error of the catalogue."""
    await refusal(exchange_of(scope), error)(scope, receive, send)


def header(scope: Scope, name: bytes) -> str | None:
    """A header's value, None where it is not there. A header that is there twice is joined, as HTTP means it."""
    found = [value for key, value in scope["headers"] if key == name]
    return b", ".join(found).decode("latin-1") if found else None
