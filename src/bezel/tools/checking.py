"""Arguments held against a schema, with what is wrong in words that a model can act on.

The keywords that describe arguments are checked; formats, patterns and conditions are left to whoever is called.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_TYPES: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "string": ("a text", str),
    "integer": ("a whole number", int),
    "number": ("a number", (int, float)),
    "boolean": ("true or false", bool),
    "array": ("a list", list),
    "object": ("an object", dict),
    "null": ("null", type(None)),
}
_BOUNDS: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
    ("minimum", "at least", operator.ge),
    ("maximum", "at most", operator.le),
    ("exclusiveMinimum", "more than", operator.gt),
    ("exclusiveMaximum", "less than", operator.lt),
)
_DEEPEST = 64


def problems(value: Any, schema: Any, where: str = "", root: Any = None, most: int = 8) -> list[str]:
    """What is wrong with a JSON value, at most `most` complaints; [] where nothing is.

    `where` names the value ("" for all arguments); `root` is what "#/..." refers to, the schema itself if left out.
    """
    found = _problems(value, schema, where, schema if root is None else root, 0)
    return [complaint for complaint, _ in zip(found, range(most), strict=False)]


def _problems(value: Any, schema: Any, where: str, root: Any, depth: int) -> Iterator[str]:
    name = where or "the arguments"
    if depth > _DEEPEST:
        yield f"{name}: nested too deep"
    elif schema is False:
        yield f"{name} must be left out"
    elif isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield from _problems(value, _referred(schema["$ref"], root), where, root, depth + 1)
        if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
            yield f"{name} must be one of {', '.join(map(_shown, schema['enum']))}, not {_shown(value)}"
            return
        if "const" in schema and not _same(value, schema["const"]):
            yield f"{name} must be {_shown(schema['const'])}, not {_shown(value)}"
            return
        kinds = schema.get("type", ())
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        if kinds and not any(_is(value, kind) for kind in kinds):
            wanted = " or ".join(_TYPES[kind][0] for kind in kinds if kind in _TYPES)
            yield f"{name} must be {wanted}, not {_shown(value)}"
            return
        yield from _alternatives(value, schema, where, root, depth)
        if isinstance(value, dict):
            yield from _object(value, schema, where, root, depth)
        elif isinstance(value, list):
            yield from _list(value, schema, where, root, depth)
        elif isinstance(value, str):
            yield from _size(len(value), schema, name, "Length", "characters")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield from _number(value, schema, name)


def _alternatives(value: Any, schema: Mapping[str, Any], where: str, root: Any, depth: int) -> Iterator[str]:
    for part in schema.get("allOf", ()):
        yield from _problems(value, part, where, root, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if not options:
            continue
        found = [list(_problems(value, option, where, root, depth + 1)) for option in options]
        if all(found):
            yield f"{where or 'the arguments'} fits no alternative: " + "; or ".join(one[0] for one in found)


def _object(value: dict[str, Any], schema: Mapping[str, Any], where: str, root: Any, depth: int) -> Iterator[str]:
    inside = f"{where}." if where else ""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{inside}{key} is missing"
    more = schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in properties:
            yield from _problems(item, properties[key], inside + key, root, depth + 1)
        elif more is False and not schema.get("patternProperties"):
            yield f"there is no {inside}{key}; known: {', '.join(properties) or 'nothing'}"
        else:
            yield from _problems(item, more, inside + key, root, depth + 1)
    yield from _size(len(value), schema, where or "the arguments", "Properties", "entries")


def _list(value: list[Any], schema: Mapping[str, Any], where: str, root: Any, depth: int) -> Iterator[str]:
    first: Sequence[Any] = schema.get("prefixItems") or ()
    for place, item in enumerate(value):
        part = first[place] if place < len(first) else schema.get("items", True)
        yield from _problems(item, part, f"{where or 'item'}[{place}]", root, depth + 1)
    yield from _size(len(value), schema, where, "Items", "items")
    if schema.get("uniqueItems") and len({json.dumps(item, sort_keys=True) for item in value}) < len(value):
        yield f"{where} must not have the same item twice"


def _size(size: int, schema: Mapping[str, Any], name: str, kind: str, unit: str) -> Iterator[str]:
    least, most = schema.get(f"min{kind}", 0), schema.get(f"max{kind}", size)
    if not least <= size <= most:
        bounds = f"at least {least}" if size < least else f"at most {most}"
        yield f"{name} must have {bounds} {unit}, not {size}"


def _number(value: float, schema: Mapping[str, Any], name: str) -> Iterator[str]:
    for keyword, words, holds in _BOUNDS:
        bound = schema.get(keyword)
        if isinstance(bound, int | float) and not isinstance(bound, bool) and not holds(value, bound):
            yield f"{name} must be {words} {bound}, not {value}"


def _is(value: Any, kind: str) -> bool:
    if kind not in _TYPES:
        return True
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    if isinstance(value, bool) and kind in ("integer", "number"):
        return False
    return isinstance(value, _TYPES[kind][1])


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _referred(reference: str, root: Any) -> Any:
    """What "#/a/b" leads to; true (anything goes) where it leads elsewhere."""
    if not reference.startswith("#"):
        return True
    found = root
    for part in reference.lstrip("#/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if not key:
            continue
        if not isinstance(found, Mapping) or key not in found:
            return True
        found = found[key]
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
