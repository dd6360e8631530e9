"""Texts inside of JSON, changed in their places."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Change = Callable[[str], str]


def changed(value: Any, change: Change) -> Any:
    """`value` with every text in it changed, names of fields too; a number whose digits change becomes a text."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): changed(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [changed(each, change) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        written = str(value)
        after = change(written)
        return value if after == written else after
    return value


def changed_json(text: str, change: Change) -> str:
    """JSON with the texts in it changed; a text that is none, or too deep, is changed as a whole."""
    try:
        value = json.loads(text)
        after = changed(value, change)
    except (ValueError, RecursionError):
        return change(text)
    return text if after == value else json.dumps(after, ensure_ascii=False, separators=(",", ":"))
