"""Function calls in an answer: {"name": ..., "parameters": {...}}, one or a JSON array of them, fenced or bare."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"```[a-z_]*\n(.*?)\n?```", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """A function's name and its arguments."""

    name: str
    arguments: dict[str, Any]


def parse_calls(text: str) -> list[Call]:
    """The calls that an answer consists of; none where it is anything but calls."""
    fenced = _FENCE.fullmatch(text.strip())
    body = (fenced[1] if fenced else text).strip()
    if body[:1] not in ("{", "["):
        return []
    values: list[Any] = []
    decoder = json.JSONDecoder()
    place = 0
    while place < len(body):
        try:
            value, place = decoder.raw_decode(body, place)
        except (ValueError, RecursionError):
            return []
        values += value if isinstance(value, list) else [value]
        while place < len(body) and body[place].isspace():
            place += 1
    calls = []
    for value in values:
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return []
        arguments = value.get("parameters", value.get("arguments", {}))
        if not isinstance(arguments, dict):
            return []
        calls.append(Call(value["name"], arguments))
    return calls
