"""The lines of a batch: reading them, and answering one."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from bezel.service.errors import ApiError, told
from bezel.service.exchange import Exchange
from bezel.service.keys import Key
from bezel.service.refusals import explained
from bezel.service.requests.chat import ChatRequest
from bezel.service.requests.completions import CompletionRequest
from bezel.service.requests.embeddings import EmbeddingRequest
from bezel.service.requests.responses import ResponseRequest
from bezel.service.routes import chat, completions, embeddings, responses
from bezel.service.server import Server

_KINDS: dict[str, tuple[Any, Callable[[Server, Exchange, Any], Awaitable[Any]]]] = {
    "/v1/chat/completions": (ChatRequest, chat.complete),
    "/v1/completions": (CompletionRequest, completions.complete),
    "/v1/responses": (ResponseRequest, responses.complete),
    "/v1/embeddings": (EmbeddingRequest, embeddings.embed),
}
_MOST_ERRORS = 100
_LONGEST_ID = 512


class Line(msgspec.Struct):
    """A request of a batch."""

    custom_id: str
    method: Literal["POST"]
    url: str
    body: msgspec.Raw


def read_lines(content: bytes, endpoint: str, most: int) -> tuple[list[tuple[str, bytes]], list[dict[str, Any]]]:
    """Custom id and body of each line that is right, and what is wrong with the others, as OpenAI says it."""
    found: dict[str, bytes] = {}
    errors: list[dict[str, Any]] = []

    def wrong(number: int | None, code: str, message: str) -> None:
        errors.append({"code": code, "line": number, "message": message, "param": None})

    for number, text in enumerate(content.splitlines(), 1):
        if len(errors) >= _MOST_ERRORS:
            break
        if not text.strip():
            continue
        try:
            line = msgspec.json.decode(text, type=Line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            wrong(number, "invalid_json_line", "A line is an object with custom_id, method POST, url and body.")
            continue
        if not 0 < len(line.custom_id) <= _LONGEST_ID:
            wrong(number, "invalid_custom_id", f"custom_id has 1 to {_LONGEST_ID} characters.")
        elif line.custom_id in found:
            wrong(number, "duplicate_custom_id", "Another line has this custom_id.")
        elif line.url != endpoint:
            wrong(number, "mismatched_url", "The line's url is not the batch's endpoint.")
        else:
            found[line.custom_id] = bytes(line.body)
        if len(found) > most:
            wrong(None, "too_many_lines", f"A batch has at most {most:,} lines.")
            break
    if not found and not errors:
        wrong(None, "empty_file", "The file has no lines.")
    return list(found.items()), errors


async def answer(
    server: Server, key: Key | None, endpoint: str, custom_id: str, body: bytes, again: bool = True
) -> tuple[bytes, bool]:
    """The result of a line, as a line of JSON, and whether it is an answer.

    Raises ApiError where it should be tried again later, in the seconds that its `retry-after` says. Without `again`
    the end of the engine in the middle of the line is its result: it may be what ends it.
    """
    exchange = Exchange(f"batch_req_{secrets.token_hex(12)}", "POST", route=endpoint, key=key, client="batch")
    kind, complete = _KINDS[endpoint]
    try:
        try:
            parsed = kind.model_validate_json(body)
        except ValidationError as error:
            places = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
            raise explained(RequestValidationError(places)) from None
        if getattr(parsed, "stream", None):
            raise ApiError("invalid", "A line of a batch cannot be a stream.", "stream")
        reply = msgspec.json.encode(await complete(server, exchange, parsed))
        exchange.status = 200
    except Exception as error:
        refused = told(error)
        exchange.failed(error, refused)
        exchange.status = refused.kind.status
        later = "retry-after" in refused.headers or refused.name in ("full", "waited")
        if later and (again or refused.name != "engine_lost"):
            raise refused from None
        reply = refused.body(exchange.request_id)
    finally:
        server.note(exchange)
    response = {"status_code": exchange.status, "request_id": exchange.request_id, "body": msgspec.Raw(reply)}
    line = {"id": exchange.request_id, "custom_id": custom_id, "response": response, "error": None}
    return msgspec.json.encode(line), exchange.status == 200
