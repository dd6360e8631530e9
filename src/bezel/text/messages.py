"""Chat messages as people send them (OpenAI's shape), checked and brought into one form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bezel.errors import InvalidRequestError

ROLES = ("system", "developer", "user", "assistant", "model", "tool")


def normalise(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose content is text: {"role", "content"}, with "tool_calls" and "name" where they were given.

    Roles become system, user, assistant or tool; text parts are joined; call arguments become objects. Raises
    InvalidRequestError naming the message, the field and what is allowed.
    """
    if not messages:
        raise InvalidRequestError("messages is empty; send at least one user message")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _message(message: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidRequestError(f"{where} is a {type(message).__name__}; it must be an object with role and content")
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequestError(f"{where}.role is {role!r}; choose one of {', '.join(ROLES)}")
    role = {"developer": "system", "model": "assistant"}.get(role, role)
    clean: dict[str, Any] = {"role": role, "content": _text(message.get("content"), where)}
    if message.get("tool_calls"):
        clean["tool_calls"] = _calls(message["tool_calls"], f"{where}.tool_calls")
    elif message.get("content") is None:
        raise InvalidRequestError(f"{where}.content is missing; only an assistant message with tool_calls may omit it")
    if isinstance(message.get("name"), str):
        clean["name"] = message["name"]
    return clean


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise InvalidRequestError(f"{where}.content is a {type(content).__name__}; send text or a list of parts")
    parts = []
    for index, part in enumerate(content):
        if not (isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise InvalidRequestError(f"{where}.content[{index}] is of type {kind!r}; this model takes text parts only")
        parts.append(part["text"])
    return "\n".join(parts)


def _calls(calls: Any, where: str) -> list[dict[str, Any]]:
    clean = []
    for index, call in enumerate(calls if isinstance(calls, Sequence) else ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidRequestError(f"{where}[{index}].function.name is missing")
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except ValueError as error:
                raise InvalidRequestError(f"{where}[{index}].function.arguments is not JSON ({error})") from None
        if not isinstance(arguments, Mapping):
            raise InvalidRequestError(f"{where}[{index}].function.arguments is not an object")
        clean.append({"type": "function", "function": {"name": function["name"], "arguments": dict(arguments)}})
    if not clean:
        raise InvalidRequestError(f"{where} is not a list of calls")
    return clean
