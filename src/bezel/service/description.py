"""The OpenAPI description: FastAPI's of the bodies, with the errors, keys and forms that it does not know of."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.routing import Route

from bezel.service.errors import CATALOGUE
from bezel.service.requests.common import Body
from bezel.service.scopes import OPEN, scope_of

_ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"enum": sorted({kind.code for kind in CATALOGUE.values()})},
                "request_id": {"type": "string"},
            },
            "required": ["message", "type", "param", "code", "request_id"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}
_WATCHED = (OPEN, "metrics")
"""Scopes of addresses whose answers tell, also with 503, how the server does."""
_FAILURES = {"4XX": "Refused; the code says why.", "5XX": "Not now, or a fault of the server."}


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of an app, made once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    found = FastAPI.openapi(app)
    parts = found.setdefault("components", {})
    parts.setdefault("schemas", {})["Error"] = _ERROR
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    scopes = {route.path_format: scope_of(route) for route in app.routes if isinstance(route, Route)}
    for path, methods in found["paths"].items():
        for operation in methods.values():
            _complete(operation, scopes.get(path))
    app.openapi_schema = found
    return found


def form(fields: type[Body]) -> dict[str, Any]:
    """What a route says of a form with a file that it reads itself, for `openapi_extra`."""
    schema = fields.model_json_schema(by_alias=True)
    schema["properties"] = {**schema["properties"], "file": {"type": "string", "format": "binary"}}
    schema["required"] = [*schema.get("required", ()), "file"]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _complete(operation: dict[str, Any], scope: str | None) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers |= {status: {"description": words, "content": error} for status, words in _FAILURES.items()}
    if scope in _WATCHED:
        answers["5XX"] = {"description": "It says what is wrong."}
    if scope != OPEN:
        operation["security"] = [{"key": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
