"""Chat messages as people send them (OpenAI's shape), checked and brought into one form."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bezel.errors import InvalidRequestError, UnsupportedInputError

ROLES = ("system", "developer", "user", "assistant", "model", "tool")


DEEPEST = 64
"""Levels of JSON in a call's arguments: what writes and reads them later may recurse."""
DETAILS = ("auto", "low", "high")
_KINDS = {"image": "image", "image_url": "image", "audio": "audio", "audio_url": "audio", "input_audio": "audio"}
_VIDEOS = ("video", "video_url")
NO_VIDEO = "is a video; only a model that sees takes it, such as google/gemma-3n-E2B-it"
_WHO_TAKES = {
    "image": "an image tower takes it, such as google/gemma-3-4b-it (as GGUF: with its mmproj file beside it)",
    "audio": "an audio tower takes it, such as google/gemma-3n-E2B-it",
}


@dataclass(frozen=True)
class MediaPart:
    """An image or a sound of a message, as it was sent: a path, an address, a data URL, bytes, or an array in memory.

    `detail` of an image: "high" is seen in crops too where it is long, "low" never, "auto" where it is large or very
    long.
    """

    kind: str
    source: Any
    detail: str = "auto"


def normalise(
    messages: Sequence[Mapping[str, Any]], mark: str = "", kinds: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Messages whose content is text: {"role", "content"}, with "tool_calls" and "name" where they were given.

    Roles become system, user, assistant or tool; text parts are joined; call arguments become objects; results bear the
    name of the function that was called. Where a user sends an image or a sound the text `mark` stands, between parts
    without white space at their ends. Raises InvalidRequestError naming the message, the field and what is allowed, and
    UnsupportedInputError for media of other `kinds`.
    """
    if not messages:
        raise InvalidRequestError("messages is empty; send at least one user message")
    clean = [_message(message, f"messages[{index}]", mark, kinds) for index, message in enumerate(messages)]
    _name_results(clean)
    return clean


def in_parts(messages: Sequence[Mapping[str, Any]], mark: str, kinds: Iterator[str]) -> list[dict[str, Any]]:
    """Messages that `normalise` made, whose content is a list of parts: texts, and media in the places of `mark`."""
    clean = []
    for message in messages:
        first, *others = message["content"].split(mark)
        parts = [{"type": "text", "text": first}] if first or not others else []
        for text in others:
            parts.append({"type": next(kinds)})
            parts += [{"type": "text", "text": text}] if text else []
        clean.append({**message, "content": parts})
    return clean


def media_of(messages: Sequence[Mapping[str, Any]], kinds: Collection[str]) -> list[MediaPart]:
    """The images and sounds of messages, in their order.

    Raises InvalidRequestError for a part that names none, UnsupportedInputError for one of other `kinds`.
    """
    found = []
    for index, message in enumerate(messages):
        for place, part in enumerate(parts_of(message)):
            if kind_of(part) is not None:
                where = f"messages[{index}].content[{place}]"
                _check_kind(kind_of(part), message.get("role") == "user", where, kinds)
                found.append(_media(part, where))
    return found


def parts_of(message: Any) -> Sequence[Any]:
    """The content parts of a message; none where its content is a text, or is no content."""
    content = message.get("content") if isinstance(message, Mapping) else None
    return content if isinstance(content, list | tuple) else ()


def kind_of(part: Any) -> str | None:
    """ "image" or "audio"; None for a part that is text or nothing known."""
    return _KINDS.get(part["type"]) if isinstance(part, Mapping) and isinstance(part.get("type"), str) else None


def is_video(part: Any) -> bool:
    """Whether a content part is a video."""
    return isinstance(part, Mapping) and part.get("type") in _VIDEOS


def _check_kind(kind: str | None, may: bool, where: str, kinds: Collection[str]) -> None:
    if kind is not None and not (may and kind in kinds):
        name = "an image" if kind == "image" else "a sound"
        raise UnsupportedInputError(
            f"{where} is {name}; only a user's message may have one, and only a model with {_WHO_TAKES[kind]}"
        )


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


def _message(message: Mapping[str, Any], where: str, mark: str, kinds: Collection[str]) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidRequestError(f"{where} is a {type(message).__name__}; it must be an object with role and content")
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequestError(f"{where}.role is {role!r}; choose one of {', '.join(ROLES)}")
    role = {"developer": "system", "model": "assistant"}.get(role, role)
    shown = kinds if role == "user" else ()
    clean: dict[str, Any] = {"role": role, "content": _text(message.get("content"), where, mark, shown)}
    if message.get("tool_calls"):
        clean["tool_calls"] = _calls(message["tool_calls"], f"{where}.tool_calls")
    elif message.get("content") is None:
        raise InvalidRequestError(f"{where}.content is missing; only an assistant message with tool_calls may omit it")
    for key in ("name", "tool_call_id"):
        if isinstance(message.get(key), str):
            clean[key] = message[key]
    return clean


def _text(content: Any, where: str, mark: str, kinds: Collection[str]) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise InvalidRequestError(f"{where}.content is a {type(content).__name__}; send text or a list of parts")
    parts: list[str] = []
    seen = any(kind_of(part) is not None for part in content)
    for index, part in enumerate(content):
        kind = kind_of(part)
        if kind is not None:
            _check_kind(kind, True, f"{where}.content[{index}]", kinds)
            parts.append(mark)
            continue
        if is_video(part):
            raise UnsupportedInputError(f"{where}.content[{index}] {NO_VIDEO}")
        if not (isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)):
            named = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise InvalidRequestError(
                f"{where}.content[{index}] is of type {named!r}; send text, image_url, image, input_audio or audio"
            )
        parts.append(part["text"].strip() if seen else part["text"])
    return ("" if seen else "\n").join(parts)


def _media(part: Mapping[str, Any], where: str) -> MediaPart:
    """OpenAI's {"image_url": {"url", "detail"}} and {"input_audio": {"data"}}, or {"image": ...} and {"audio": ...}."""
    kind = _KINDS[part["type"]]
    source: Any = next((part[key] for key in (part["type"], "url", "path") if part.get(key) is not None), None)
    detail: Any = part.get("detail", "auto")
    if isinstance(source, Mapping):
        detail = source.get("detail", detail)
        source = _decoded(source["data"], where) if source.get("data") is not None else source.get("url")
    if source is None or (isinstance(source, str | bytes) and not source):
        raise InvalidRequestError(
            f"{where} names no {kind}; send image_url with a url, input_audio with data, or {kind} with a path or bytes"
        )
    if detail not in DETAILS:
        raise InvalidRequestError(f"{where}.detail is {detail!r}; choose one of {', '.join(DETAILS)}")
    return MediaPart(kind, source, detail)


def _decoded(data: Any, where: str) -> bytes:
    """A file in base64, as OpenAI's clients send sounds."""
    try:
        return base64.b64decode(data, validate=True)
    except (TypeError, ValueError):
        raise InvalidRequestError(f"{where}.data is no base64 with padding; encode the file again") from None


def deeper_than(value: Any, levels: int) -> bool:
    """Whether objects and lists of JSON stand in each other more than so many deep; nothing here recurses."""
    level = [value] if isinstance(value, Mapping | list | tuple) else []
    for _ in range(levels):
        inner = [part.values() if isinstance(part, Mapping) else part for part in level]
        level = [each for parts in inner for each in parts if isinstance(each, Mapping | list | tuple)]
        if not level:
            return False
    return True


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
            except RecursionError:
                raise InvalidRequestError(
                    f"{where}[{index}].function.arguments is nested deeper than {DEEPEST} levels"
                ) from None
        if not isinstance(arguments, Mapping):
            raise InvalidRequestError(f"{where}[{index}].function.arguments is not an object")
        if deeper_than(arguments, DEEPEST):
            raise InvalidRequestError(f"{where}[{index}].function.arguments is nested deeper than {DEEPEST} levels")
        identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        clean.append(
            {**identity, "type": "function", "function": {"name": function["name"], "arguments": dict(arguments)}}
        )
    if not clean:
        raise InvalidRequestError(f"{where} is not a list of calls")
    return clean
