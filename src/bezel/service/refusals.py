"""Errors as responses, whoever raised them."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bezel.errors import BezelError
from bezel.service.errors import ApiError, told
from bezel.service.exchange import Exchange, exchange_of
from bezel.service.requests.common import OWN

_BY_STATUS = {404: "no_route", 405: "method", 413: "too_large", 408: "slow_body"}
_SAYS = {
    "missing": "is missing",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "literal_error": "must be one of {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_unicode": "holds half a character",
    "union_tag_invalid": "must have {discriminator} one of {expected_tags}",
    "union_tag_not_found": "must have {discriminator}",
}
"""pydantic's kinds of errors in words of ours; none repeats what was sent."""
_BRANCHES = frozenset({"str", "NamedChoice", "FunctionChoice"})
_TAGGED = re.compile(r"(messages\[\d+\]|content\[\d+\]|input\[\d+\]|format)$")
"""Behind these pydantic names which form it took the object for."""


def refusal(exchange: Exchange, error: ApiError) -> Response:
    """The response to an error; the exchange notes it."""
    exchange.failed(error, error)
    return _response(exchange, error)


def _response(exchange: Exchange, error: ApiError) -> Response:
    headers = {"www-authenticate": "Bearer"} if error.kind.status == 401 else {}
    body = error.body(exchange.request_id)
    return Response(body, error.kind.status, {**headers, **error.headers}, media_type="application/json")


def handle_errors(app: FastAPI) -> None:
    """Have an app answer its errors from the catalogue."""

    async def known(request: Request, error: Any) -> Response:
        exchange, refused = exchange_of(request.scope), told(error)
        exchange.failed(error, refused)
        return _response(exchange, refused)

    async def http(request: Request, error: Any) -> Response:
        return refusal(exchange_of(request.scope), ApiError(_BY_STATUS.get(error.status_code, "not_json")))

    async def invalid(request: Request, error: Any) -> Response:
        return refusal(exchange_of(request.scope), explained(error))

    app.add_exception_handler(ApiError, known)
    app.add_exception_handler(BezelError, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def explained(error: RequestValidationError) -> ApiError:
    """The deepest of pydantic's errors, of unions the branch that came furthest: where all is of the right type."""
    found: dict[str, Any] = max(error.errors(), key=lambda each: (len(each["loc"]), not each["type"].endswith("_type")))
    kind = found["type"]
    if kind == "json_invalid":
        return ApiError("not_json")
    param = _param(found["loc"])
    if kind == "extra_forbidden":
        return ApiError("unknown_parameter", f"Leave out {param}.", param)
    says = found["msg"] if kind == OWN else _SAYS.get(kind, "cannot be used").format_map(found.get("ctx", {}))
    return ApiError("invalid", f"{param or 'The body'} {says}.", param)


def _param(place: tuple[int | str, ...]) -> str | None:
    """Where in the body, as one writes it: messages[0].content[1].text."""
    if len(place) == 2 and isinstance(place[1], str):
        return place[1][:200] or None  # a field's own name, which in a form may be a[b]
    name, tag = "", False
    for part in place[1:]:
        tag = not tag and bool(_TAGGED.search(name))
        if isinstance(part, int):
            name += f"[{part}]"
        elif part.isidentifier() and part not in _BRANCHES and not tag:
            name += f".{part}" if name else part
    return name[:200] or None
