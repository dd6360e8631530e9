"""Texts inside of JSON, changed in their places."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

Change = Callable[[str], str]


def changed(value: Any, change: Change, fixed: Collection[str] | None = None) -> Any:
    """`value` with every text in it changed, names of fields too; a number whose digits change becomes a text.

    With `fixed` names of fields, and the texts of those that are fixed, stay as they are: `change` sees them only.
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        found = {}
        for name, each in value.items():
            after = change(name)
            stays = fixed is not None and name in fixed and isinstance(each, str)
            rest = changed(each, change, fixed)
            found[name if fixed is not None else after] = each if stays else rest
        return found
    if isinstance(value, list):
        return [changed(each, change, fixed) for each in value]
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
