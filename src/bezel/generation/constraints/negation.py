"""What is left when a JSON Schema must not hold, as alternatives that llguidance has words for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bezel.generation.constraints.rewriting import Rewriter

_TYPES = ("null", "boolean", "number", "string", "array", "object")
_MOST = 16  # alternatives of one negation
_DEEPEST = 6
# By keyword: the type that it speaks of, and the words that say the opposite of its value.
_OPPOSITES: dict[str, tuple[str, Callable[[Any], dict[str, Any] | None]]] = {
    "minLength": ("string", lambda n: {"maxLength": int(n) - 1} if n >= 1 else None),
    "maxLength": ("string", lambda n: {"minLength": int(n) + 1}),
    "minItems": ("array", lambda n: {"maxItems": int(n) - 1} if n >= 1 else None),
    "maxItems": ("array", lambda n: {"minItems": int(n) + 1}),
    "minProperties": ("object", lambda n: {"maxProperties": int(n) - 1} if n >= 1 else None),
    "maxProperties": ("object", lambda n: {"minProperties": int(n) + 1}),
    "minimum": ("number", lambda n: {"exclusiveMaximum": n}),
    "maximum": ("number", lambda n: {"exclusiveMinimum": n}),
}
# By keyword without an opposite: the type that it speaks of.
_WIDE = {
    "pattern": "string",
    "format": "string",
    "multipleOf": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "items": "array",
    "prefixItems": "array",
    "additionalItems": "array",
    "uniqueItems": "array",
    "contains": "array",
    "additionalProperties": "object",
    "patternProperties": "object",
    "propertyNames": "object",
    "dependencies": "object",
    "dependentRequired": "object",
    "dependentSchemas": "object",
}
_ANYTHING = ("oneOf", "if", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef")


def only(type_name: str, words: dict[str, Any]) -> dict[str, Any]:
    """`words` about one type, that leave the others free."""
    return {"anyOf": [{"type": [name for name in _TYPES if name != type_name]}, {"type": type_name, **words}]}


def values(schema: Any) -> Sequence[Any] | None:
    """The values of a schema that lists them and says nothing else but a type; None for another."""
    if isinstance(schema, dict) and not set(schema) - {"enum", "const", "type", "description", "title"}:
        if isinstance(schema.get("enum"), list):
            return list(schema["enum"]) if "type" not in schema and "const" not in schema else None
        if "const" in schema:
            return [schema["const"]] if "type" not in schema else None
    return None


def same(one: Any, other: Any) -> bool:
    """Whether JSON Schema calls two values equal: 1 is 1.0 and not true."""
    return json.dumps(_plain(one), sort_keys=True) == json.dumps(_plain(other), sort_keys=True)


def negate(rewriter: Rewriter, schema: Any, depth: int = 0) -> Any:
    """A schema in llguidance's words that holds where `schema` does not, or wider, which `rewriter` is told."""
    if isinstance(schema, bool):
        return not schema
    if not isinstance(schema, dict) or depth > _DEEPEST:
        rewriter.wider.add("not")
        return True
    if isinstance(schema.get("$ref"), str):
        target = rewriter.target(schema, schema["$ref"])
        others = {} if rewriter.draft <= 7 else {key: value for key, value in schema.items() if key != "$ref"}
        parts = [negate(rewriter, target, depth + 1), negate(rewriter, others, depth + 1) if others else False]
        return _either(rewriter, parts)
    return _either(rewriter, _alternatives(rewriter, schema, depth))


def _alternatives(rewriter: Rewriter, schema: dict[str, Any], depth: int) -> Iterable[Any]:
    for key, value in schema.items():
        if key == "type":
            yield _other_types(rewriter, value)
        elif key in ("enum", "const"):
            yield _other_values(rewriter, value if key == "enum" else [value])
        elif key == "required" and isinstance(value, list):
            yield from ({"type": "object", "properties": {name: False}} for name in value)
        elif key == "properties" and isinstance(value, dict):
            for name, part in value.items():
                opposite = negate(rewriter, part, depth + 1)
                if opposite is not False:
                    yield {"type": "object", "properties": {name: opposite}, "required": [name]}
        elif key in _OPPOSITES and isinstance(value, int | float):
            yield _opposite(rewriter, schema, key, value)
        elif key == "allOf" and isinstance(value, list):
            yield from (negate(rewriter, part, depth + 1) for part in value)
        elif key == "anyOf" and isinstance(value, list):
            yield _both([negate(rewriter, part, depth + 1) for part in value])
        elif key == "not":
            yield rewriter.node(value)
        elif key in _WIDE and not _says_nothing(key, value):
            rewriter.wider.add("not")
            yield {"type": _WIDE[key]}
        elif key in _ANYTHING:
            rewriter.wider.add("not")
            yield True


def _opposite(rewriter: Rewriter, schema: dict[str, Any], key: str, value: Any) -> Any:
    type_name, opposite = _OPPOSITES[key]
    words = opposite(value)
    if words is None:
        return False
    if key in ("minProperties", "maxProperties") or isinstance(schema.get(f"exclusive{key.capitalize()}"), bool):
        rewriter.wider.add("not")  # keys that stand twice are counted twice; draft 4 moves the border
        words = {} if type_name == "number" else words
    return {"type": type_name, **words}


def _other_types(rewriter: Rewriter, value: Any) -> Any:
    named = {value} if isinstance(value, str) else set(value)
    left = [name for name in _TYPES if name not in named]
    if "integer" in named and "number" in left:
        rewriter.wider.add("not")  # numbers with a fraction cannot be told from others
    return {"type": left} if left else False


def _other_values(rewriter: Rewriter, listed: Sequence[Any]) -> Any:
    strings = [value for value in listed if isinstance(value, str)]
    simple = [value for value in listed if value is None or isinstance(value, bool)]
    types = set(_TYPES) - ({"string"} if strings else set())
    options: list[Any] = []
    if len(strings) + len(simple) < len(listed):
        rewriter.wider.add("not")  # numbers, arrays and objects
    if None in simple:
        types.discard("null")
    if any(isinstance(value, bool) for value in simple):
        types.discard("boolean")
        options += [{"const": left} for left in (True, False) if not any(left is value for value in simple)]
    if strings:
        if any(character in text for text in strings for character in '"\\'):
            rewriter.wider.add("not")  # llguidance lets these through where a class leaves them out
        options.append({"type": "string", "pattern": excluding(strings)})
    return (
        {"anyOf": [{"type": [name for name in _TYPES if name in types]}, *options]}
        if options
        else {"type": [name for name in _TYPES if name in types]}
    )


def excluding(strings: Sequence[str]) -> str:
    """A pattern that every string matches but those given."""
    return f"^{_differs(sorted(set(strings)))}$"


def _differs(strings: Sequence[str]) -> str:
    """Matches everything but `strings`, character by character of their common tree."""
    firsts = sorted({text[0] for text in strings if text})
    options = [] if "" in strings else [""]
    others = "".join(map(escaped, firsts))
    options.append(f"[^{others}][\\s\\S]*" if firsts else "[\\s\\S]+")
    for first in firsts:
        options.append(escaped(first) + _differs([text[1:] for text in strings if text[:1] == first]))
    return "(?:" + "|".join(options) + ")"


def literal(text: str) -> str:
    """A pattern that matches `text` alone."""
    return "".join(map(escaped, text))


def escaped(character: str) -> str:
    """A pattern for one character, inside brackets or out."""
    plain = character.isalnum() or ord(character) > 127
    return character if plain else f"\\x{ord(character):02x}"


def _says_nothing(key: str, value: Any) -> bool:
    if key == "uniqueItems":
        return value is False
    return key != "contains" and (value is True or value == {})  # `contains` anything asks for an item


def _both(parts: Sequence[Any]) -> Any:
    if False in [part for part in parts if isinstance(part, bool)]:
        return False
    kept = [part for part in parts if part is not True]
    return {"allOf": kept} if len(kept) > 1 else kept[0] if kept else True


def _either(rewriter: Rewriter, parts: Iterable[Any]) -> Any:
    kept = [part for part in parts if part is not False]
    if any(part is True for part in kept):
        return True
    if len(kept) > _MOST:
        rewriter.wider.add("not")
        return True
    return {"anyOf": kept} if len(kept) > 1 else kept[0] if kept else False


def _plain(value: Any) -> Any:
    """A value in which equal numbers are spelled alike."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
