"""Objects that take no members but those they declare."""

from __future__ import annotations

from typing import Any

# Where an object's members may be named by more than its own `properties`, it is left as open as it is.
_COMBINING = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "$ref", "$dynamicRef", "dependentSchemas"))
_NAMING = frozenset(("patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"))


def names_its_members(schema: dict[str, Any]) -> bool:
    """Whether `properties` alone says which members there are."""
    return not (_COMBINING | _NAMING) & schema.keys()


def closed(schema: Any) -> Any:
    """A JSON Schema whose objects that declare `properties`, and say nothing of others, allow no others.

    Definitions are closed too, unless the document combines schemas with allOf.
    """
    combines = any("allOf" in node for node in _nodes(schema))
    return _closed(schema, () if combines else ("$defs", "definitions"))


def _closed(schema: Any, definitions: tuple[str, ...]) -> Any:
    if not isinstance(schema, dict):
        return schema
    out = dict(schema)
    for word in ("properties", *definitions):
        if isinstance(schema.get(word), dict):
            out[word] = {name: _closed(part, definitions) for name, part in schema[word].items()}
    if "items" in schema:
        out["items"] = _closed(schema["items"], definitions)
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list) and "properties" not in schema:
            out[word] = [_closed(part, definitions) for part in schema[word]]
    if isinstance(schema.get("properties"), dict) and names_its_members(schema):
        out["additionalProperties"] = False
    return out


def _nodes(schema: Any) -> list[dict[str, Any]]:
    """Every object of a JSON value."""
    found, waiting = [], [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found.append(node)
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return found
