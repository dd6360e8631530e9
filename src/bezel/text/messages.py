"""Chat messages as people send them (OpenAI's shape), checked and brought into one form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bezel.errors import InvalidRequestError, UnsupportedInputError

ROLES = ("system", "developer", "user", "assistant", "model", "tool")


DETAILS = ("auto", "low", "high")


@dataclass(frozen=True)
class ImagePart:
    """An image of a message, as it was sent: a path, an address, a data URL, bytes, or a picture in memory.

    `detail`: "high" is seen in crops too where it is long, "low" never, "auto" where it is large or very long.
    """

    source: Any
    detail: str = "auto"


def normalise(messages: Sequence[Mapping[str, Any]], image: str | None = None) -> list[dict[str, Any]]:
    """Messages whose content is text: {"role", "content"}, with "tool_calls" and "name" where they were given.

    Roles become system, user, assistant or tool; text parts are joined; call arguments become objects; results bear the
    name of the function that was called. Where a user sends an image the text `image` stands, between parts without
    white space at their ends. Raises InvalidRequestError naming the message, the field and what is allowed, and
    UnsupportedInputError for an image where `image` is None.
    """
    if not messages:
        raise InvalidRequestError("messages is empty; send at least one user message")
    clean = [_message(message, f"messages[{index}]", image) for index, message in enumerate(messages)]
    _name_results(clean)
    return clean


def images_of(messages: Sequence[Mapping[str, Any]]) -> list[ImagePart]:
    """The images of messages, in their order. Raises InvalidRequestError for one that names no image."""
    return [
        _image(part, f"messages[{index}].content[{place}]")
        for index, message in enumerate(messages)
        if isinstance(message, Mapping) and isinstance(message.get("content"), list | tuple)
        for place, part in enumerate(message["content"])
        if isinstance(part, Mapping) and _is_image(part)
    ]


def _name_results(messages: list[dict[str, Any]]) -> None:
    """Give each result the name of its call: the one with its id, or the next where neither has an id."""
    calls: list[tuple[str | None, str]] = []
    for index, message in enumerate(messages):
        if message["role"] != "tool":
            calls = [(call.get("id"), call["function"]["name"]) for call in message.get("tool_calls", ())]
            continue
        wanted = message.get("tool_call_id")
        found = next((call for call in calls if wanted in (None, call[0])), None)
        if found is not None:
            calls.remove(found)
            message.setdefault("name", found[1])
        elif wanted is not None and "name" not in message:
            raise InvalidRequestError(
                f"messages[{index}].tool_call_id is {wanted!r}; no open call of the message before it has this id"
            )


def _message(message: Mapping[str, Any], where: str, image: str | None) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidRequestError(f"{where} is a {type(message).__name__}; it must be an object with role and content")
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequestError(f"{where}.role is {role!r}; choose one of {', '.join(ROLES)}")
    role = {"developer": "system", "model": "assistant"}.get(role, role)
    image = image if role == "user" else None
    clean: dict[str, Any] = {"role": role, "content": _text(message.get("content"), where, image)}
    if message.get("tool_calls"):
        clean["tool_calls"] = _calls(message["tool_calls"], f"{where}.tool_calls")
    elif message.get("content") is None:
        raise InvalidRequestError(f"{where}.content is missing; only an assistant message with tool_calls may omit it")
    for key in ("name", "tool_call_id"):
        if isinstance(message.get(key), str):
            clean[key] = message[key]
    return clean


def _text(content: Any, where: str, image: str | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise InvalidRequestError(f"{where}.content is a {type(content).__name__}; send text or a list of parts")
    parts: list[str] = []
    seen = any(map(_is_image, content))
    for index, part in enumerate(content):
        if _is_image(part):
            if image is None:
                raise UnsupportedInputError(
                    f"{where}.content[{index}] is an image; only a user's message may have one, and only a model with "
                    "an image tower takes it, such as google/gemma-3-4b-it (as GGUF: with its mmproj file beside it)"
                )
            parts.append(image)
            continue
        if not (isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise InvalidRequestError(f"{where}.content[{index}] is of type {kind!r}; send text, image_url or image")
        parts.append(part["text"].strip() if seen else part["text"])
    return ("" if seen else "\n").join(parts)


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in ("image", "image_url")


def _image(part: Mapping[str, Any], where: str) -> ImagePart:
    """OpenAI's {"image_url": {"url", "detail"}}, or {"image": ...} with anything that an image may be, or its path."""
    source: Any = next((part[key] for key in (part["type"], "url", "path") if part.get(key) is not None), None)
    detail: Any = part.get("detail", "auto")
    if isinstance(source, Mapping):
        source, detail = source.get("url"), source.get("detail", detail)
    if source is None or (isinstance(source, str | bytes) and not source):
        raise InvalidRequestError(f"{where} names no image; send image_url with a url, or image with a path or bytes")
    if detail not in DETAILS:
        raise InvalidRequestError(f"{where}.detail is {detail!r}; choose one of {', '.join(DETAILS)}")
    return ImagePart(source, detail)


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
        identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        clean.append(
            {**identity, "type": "function", "function": {"name": function["name"], "arguments": dict(arguments)}}
        )
    if not clean:
        raise InvalidRequestError(f"{where} is not a list of calls")
    return clean
