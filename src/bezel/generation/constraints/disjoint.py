"""Whether no value satisfies two JSON Schemas at once, as far as can be seen without solving them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bezel.generation.constraints.negation import same
from bezel.generation.constraints.references import References

_TYPES = frozenset(("null", "boolean", "integer", "number", "string", "array", "object"))
_DEEPEST = 5


class Disjointness:
    """Says yes only where it is sure."""

    def __init__(self, references: References) -> None:
        self._references = references

    def all(self, parts: Sequence[Any], beside: dict[str, Any]) -> bool:
        """Whether every two of `parts` exclude each other, in a schema that also says what stands in `beside`."""
        only_objects = beside.get("type") == "object"
        return len(parts) <= 200 and all(
            self._apart(one, other, only_objects, 0) for place, one in enumerate(parts) for other in parts[place + 1 :]
        )

    def _apart(self, one: Any, other: Any, objects: bool, depth: int) -> bool:
        if one is False or other is False:
            return True
        if depth > _DEEPEST or not isinstance(one, dict) or not isinstance(other, dict):
            return False
        ones, others = self._conjuncts(one, 0), self._conjuncts(other, 0)
        first, second = _types(ones), _types(others)
        if not first & second:
            return True
        listed, counted = _values(ones), _values(others)
        if listed is not None and counted is not None:
            return not any(same(value, excluded) for value in listed for excluded in counted)
        if listed is not None or counted is not None:
            values, types = (listed or [], second) if listed is not None else (counted or [], first)
            return not any(_type_of(value) in types for value in values)
        options = (
            (schema.get("anyOf"), against) for these, against in ((ones, other), (others, one)) for schema in these
        )
        for listed_options, against in options:
            if isinstance(listed_options, list) and all(
                self._apart(option, against, objects, depth + 1) for option in listed_options
            ):
                return True
        return (objects or first == {"object"} or second == {"object"}) and self._members_apart(ones, others, depth)

    def _members_apart(self, ones: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], depth: int) -> bool:
        required, demanded = _required(ones), _required(others)
        if any(_forbids(schema, name) for name in required for schema in others):
            return True
        if any(_forbids(schema, name) for name in demanded for schema in ones):
            return True
        return any(
            self._apart(one["properties"][name], other["properties"][name], False, depth + 1)
            for name in required | demanded
            for one in ones
            if isinstance(one.get("properties"), dict) and name in one["properties"]
            for other in others
            if isinstance(other.get("properties"), dict) and name in other["properties"]
        )

    def _conjuncts(self, schema: Any, depth: int) -> list[dict[str, Any]]:
        """What a schema says all at once: itself, and what `$ref` and `allOf` add to it."""
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return []
        found = [schema]
        if isinstance(schema.get("$ref"), str):
            found += self._conjuncts(self._references.resolve(schema["$ref"], schema), depth + 1)
            if self._references.old:
                return found[1:]
        if isinstance(schema.get("allOf"), list):
            for part in schema["allOf"]:
                found += self._conjuncts(part, depth + 1)
        return found


def _types(schemas: Sequence[dict[str, Any]]) -> frozenset[str]:
    types = _TYPES
    for schema in schemas:
        named = schema.get("type")
        if named is not None:
            listed = {named} if isinstance(named, str) else set(named)
            listed |= {"integer"} if "number" in listed else set()
            types &= listed
    return types


def _values(schemas: Sequence[dict[str, Any]]) -> list[Any] | None:
    for schema in schemas:
        if isinstance(schema.get("enum"), list):
            return list(schema["enum"])
        if "const" in schema:
            return [schema["const"]]
    return None


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if float(value).is_integer() else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _required(schemas: Sequence[dict[str, Any]]) -> set[str]:
    return {
        name
        for schema in schemas
        if isinstance(schema.get("required"), list)
        for name in schema["required"]
        if isinstance(name, str)
    }


def _forbids(schema: dict[str, Any], name: str) -> bool:
    listed = schema.get("properties")
    if isinstance(listed, dict) and name in listed:
        return listed[name] is False
    if isinstance(schema.get("not"), dict):
        excluded = schema["not"]
        if set(excluded) == {"required"} and excluded["required"] == [name]:
            return True
    return schema.get("additionalProperties") is False and not schema.get("patternProperties")
