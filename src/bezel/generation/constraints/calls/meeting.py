"""One JSON Schema for several that hold together, as far as words for that exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bezel.generation.constraints.negation import same

_MOST_OPTIONS = 64
_DEEPEST = 8
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def meet(parts: Sequence[Any], definitions: Mapping[str, Any], wider: set[str]) -> Any:
    """What every part allows, in a rewritten schema's words; False where that is surely nothing.

    `pattern` may become a list of patterns. Where no words exist the schema is wider, and `wider` says why.
    """
    return _Meeting(definitions, wider).of(parts)


class _Meeting:
    def __init__(self, definitions: Mapping[str, Any], wider: set[str]) -> None:
        self._definitions, self._wider, self._depth = definitions, wider, 0

    def of(self, parts: Sequence[Any]) -> Any:
        met: Any = True
        for part in parts:
            met = self._two(met, part)
        return met

    def _two(self, one: Any, other: Any) -> Any:
        if one is False or other is False:
            return False
        if one is True or one == {}:
            return other
        if other is True or other == {}:
            return one
        met = dict(self._named(one))
        second = self._named(other)
        declared = [schema.get("properties", {}).keys() for schema in (met, second)]
        if declared[0] != declared[1] and "additionalProperties" in {**met, **second}:
            self._wider.add("closed objects that hold together")
        for word, said in second.items():
            met[word] = self._word(word, met[word], said) if word in met else said
        impossible = met.get("type") == [] or met.get("enum") == [] or met.get("anyOf") == []
        return False if impossible else met

    def _named(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """A schema without `$ref`, which is replaced by what it leads to."""
        if "$ref" not in schema:
            if "const" in schema:
                return {**{k: v for k, v in schema.items() if k != "const"}, "enum": [schema["const"]]}
            return schema
        rest = {word: said for word, said in schema.items() if word != "$ref"}
        if self._depth >= _DEEPEST:
            self._wider.add("definitions that hold themselves")
            return rest
        self._depth += 1
        met = self._two(rest, self._definitions[schema["$ref"].rsplit("/", 1)[-1]])
        self._depth -= 1
        return met if isinstance(met, dict) else {} if met is True else {"enum": []}

    def _word(self, word: str, one: Any, other: Any) -> Any:
        if one == other:
            return one
        if word in _LEAST:
            return max(one, other)
        if word in _MOST:
            return min(one, other)
        if word in _WORDS:
            return _WORDS[word](self, one, other)
        if word in ("items", "additionalProperties"):
            return self.of([one, other])
        self._wider.add(f"two of {word}")
        return other

    def _types(self, one: Any, other: Any) -> list[str]:
        first, second = ([kinds] if isinstance(kinds, str) else list(kinds) for kinds in (one, other))
        shared = [kind for kind in first if kind in second]
        for narrow, wide in ((first, second), (second, first)):
            if "integer" in narrow and "number" in wide and "integer" not in shared and "number" not in shared:
                shared.append("integer")
        return shared

    def _values(self, one: Any, other: Any) -> list[Any]:
        return [value for value in one if any(same(value, allowed) for allowed in other)]

    def _patterns(self, one: Any, other: Any) -> list[str]:
        return [pattern for said in (one, other) for pattern in ([said] if isinstance(said, str) else said)]

    def _properties(self, one: Any, other: Any) -> dict[str, Any]:
        return {**one, **other, **{name: self.of([one[name], other[name]]) for name in one.keys() & other.keys()}}

    def _required(self, one: Any, other: Any) -> list[str]:
        return [*one, *(name for name in other if name not in one)]

    def _options(self, one: Any, other: Any) -> list[Any]:
        if len(one) * len(other) > _MOST_OPTIONS:
            self._wider.add("many alternatives that hold together")
            return list(one)
        met = [self.of([first, second]) for first in one for second in other]
        return [option for option in met if option is not False]

    def _all(self, one: Any, other: Any) -> list[Any]:
        return [*one, *other]

    def _prefix(self, one: Any, other: Any) -> list[Any]:
        if len(one) != len(other):
            self._wider.add("tuples of different lengths")
        longer = one if len(one) >= len(other) else other
        shared = [self.of([first, second]) for first, second in zip(one, other, strict=False)]
        return [*shared, *longer[len(shared) :]]


_WORDS: Mapping[str, Callable[[_Meeting, Any, Any], Any]] = {
    "type": _Meeting._types,
    "enum": _Meeting._values,
    "pattern": _Meeting._patterns,
    "properties": _Meeting._properties,
    "required": _Meeting._required,
    "anyOf": _Meeting._options,
    "allOf": _Meeting._all,
    "prefixItems": _Meeting._prefix,
}
