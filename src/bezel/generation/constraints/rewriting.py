"""A JSON Schema of any draft in the words that llguidance has, never narrower than it was.

llguidance refuses what it cannot express. Here conditions become alternatives, `oneOf` of branches that exclude each
other becomes `anyOf`, `not` becomes what is left; and where no words exist the schema becomes wider and says so, so
that a validator has the last word on a document (`gate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bezel.errors import ConstraintError
from bezel.generation.constraints import negation
from bezel.generation.constraints.disjoint import Disjointness
from bezel.generation.constraints.references import References, draft_of
from bezel.generation.constraints.strings import CALENDAR, CHECKED_FORMATS, EXACT_FORMATS, LEAKS, name_patterns

Schema = Any
TYPES = ("null", "boolean", "number", "string", "array", "object")
# What stands in a schema as it is.
_KEPT = frozenset(("type", "enum", "const", "required", "pattern", "multipleOf", "minimum", "maximum"))
_KEPT |= {"exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems"}
_KEPT |= {"minProperties", "maxProperties"}
_MOST_ALTERNATIVES = 32  # of one schema's conditions multiplied out
_LARGEST = 1 << 60  # number that a bound is kept for: more digits than llguidance counts in


@dataclass(frozen=True)
class Loosening:
    """What is left to the validator because llguidance could not take it; each makes the grammar wider."""

    conditions: bool = False  # not, if, dependencies, exclusive oneOf
    counts: bool = False  # minProperties, maxProperties
    patterns: bool = False  # patterns that it cannot read
    names: bool = False  # patternProperties, propertyNames
    siblings: bool = False  # what stands beside $ref, allOf, anyOf or oneOf
    strings: bool = False  # every pattern and format
    shape: bool = False  # everything but the outermost type


@dataclass
class Rewritten:
    """`schema` for llguidance, and why it takes more documents than the original did (empty: it does not)."""

    schema: Schema
    wider: set[str] = field(default_factory=set)


def rewrite(schema: Schema, loosening: Loosening, readable: Callable[[str], bool]) -> Rewritten:
    """Rewrite a whole document. `readable` says whether llguidance reads a pattern.

    Raises ConstraintError for what is no JSON Schema.
    """
    return Rewriter(schema, loosening, readable).run()


class Rewriter:
    """One document on its way; see `rewrite`."""

    def __init__(self, root: Schema, loosening: Loosening, readable: Callable[[str], bool]) -> None:
        self.draft = draft_of(root)
        self.references = References(root, self.draft)
        self.loosening, self.readable = loosening, readable
        self.wider: set[str] = set()
        self.disjoint = Disjointness(self.references)
        self._root = root
        self._names: dict[int, str] = {}
        self._waiting: list[tuple[str, Schema]] = []
        self._words = {
            "$ref": self._reference,
            "$dynamicRef": self._dynamic,
            "$recursiveRef": self._dynamic,
            "properties": self._members,
            "patternProperties": self._patterned,
            "additionalProperties": self._additional,
            "unevaluatedProperties": self._unevaluated,
            "unevaluatedItems": self._unevaluated,
            "items": self._items,
            "prefixItems": self._prefix,
            "additionalItems": self._additional_items,
            "allOf": self._all_of,
            "anyOf": self._any_of,
            "oneOf": self._one_of,
            "not": self._not,
            "if": self._if,
            "dependencies": self._dependencies,
            "dependentRequired": self._dependencies,
            "dependentSchemas": self._dependencies,
            "uniqueItems": self._unique,
            "contains": self._contains,
            "propertyNames": self._property_names,
            "format": self._format,
            "contentEncoding": self._content,
            "contentMediaType": self._content,
        }

    def run(self) -> Rewritten:
        if self.loosening.shape:
            named = self._root.get("type") if isinstance(self._root, dict) else None
            return Rewritten(True if named is None else {"type": named}, {"everything"})
        result = self.node(self._root)
        definitions: dict[str, Schema] = {}
        while self._waiting:
            name, target = self._waiting.pop()
            definitions[name] = self.node(target)
        if definitions:
            result = {"allOf": [result]} if isinstance(result, bool) else result
            result = {**result, "$defs": definitions}
        return Rewritten(result, self.wider)

    def node(self, schema: Schema) -> Schema:
        """One schema, rewritten."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise ConstraintError(f"a schema is {_short(schema)}; it must be an object or a boolean")
        return self._translated(schema)

    def _translated(self, schema: dict[str, Any]) -> Schema:
        if self.draft <= 7 and isinstance(schema.get("$ref"), str):
            schema_of_reference: dict[str, Any] = {}
            self._reference(schema, "$ref", schema_of_reference, [])
            return schema_of_reference or True
        out: dict[str, Any] = {}
        more: list[Schema] = []
        for key, value in schema.items():
            if key in _KEPT:
                self._keep(schema, key, value, out)
            elif (word := self._words.get(key)) is not None:
                word(schema, key, out, more)
        return self._joined(out, more)

    def _joined(self, out: dict[str, Any], more: list[Schema]) -> Schema:
        """What a schema says, and the conditions that were made of its words, as one schema."""
        if self.loosening.siblings:
            out, more = self._alone(out, more)
        if False in more:
            return False
        more = [condition for condition in more if condition is not True and condition != {}]
        if self.loosening.conditions and more:
            self.wider.add("conditions")
            more = []
        if more and math.prod(len(c.get("anyOf", (0,))) for c in more) > _MOST_ALTERNATIVES:
            self.wider.add("conditions")
            while more and math.prod(len(c.get("anyOf", (0,))) for c in more) > _MOST_ALTERNATIVES:
                more.remove(max(more, key=lambda c: len(c.get("anyOf", (0,)))))
        if not more:
            return out or True
        if not out and len(more) == 1:
            return more[0]
        return {"allOf": [*([out] if out else []), *more]}

    def _alone(self, out: dict[str, Any], more: list[Schema]) -> tuple[dict[str, Any], list[Schema]]:
        joins = [key for key in ("$ref", "allOf", "anyOf") if key in out]
        parts = out.get("allOf", ())
        if len(joins) + bool(more) + any(key not in ("type", *joins) for key in out) + (len(parts) > 1) <= 1:
            return out, more
        self.wider.add("siblings")
        plain = {key: value for key, value in out.items() if key not in joins}
        if "properties" in plain or not joins:
            return plain, []
        if joins[0] == "allOf":
            return {"allOf": [max(parts, key=lambda part: len(repr(part)))]}, []
        return {joins[0]: out[joins[0]]}, []

    def _keep(self, schema: dict[str, Any], key: str, value: Any, out: dict[str, Any]) -> None:
        if key in ("minProperties", "maxProperties"):
            if self.loosening.counts:
                self.wider.add(key)
                return
            if not self._closed(schema):
                self.wider.add(key)  # a key that stands twice is counted twice
        if key == "pattern" and (self.loosening.strings or (self.loosening.patterns and not self.readable(value))):
            self.wider.add("pattern")
            return
        if key == "pattern" and LEAKS.search(value):
            self.wider.add("pattern")
        if key in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"):
            value = int(value) if isinstance(value, float) and value.is_integer() else value
            if isinstance(value, int) and value > 1 << 31:
                value = 1 << 31
        if key in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool) != (self.draft == 4):
            return
        if (key == "const" and self.draft == 4) or (key == "required" and not isinstance(value, list)):
            return
        if key.endswith("imum") and isinstance(value, int | float) and abs(value) > _LARGEST:
            self.wider.add(key)
            return
        if key == "multipleOf" and not float(value).is_integer():
            self.wider.add("multipleOf")
        out[key] = value

    def _closed(self, schema: dict[str, Any]) -> bool:
        return schema.get("additionalProperties") is False and not schema.get("patternProperties")

    # ---- references ----

    def _reference(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        target = self.target(schema, schema[key])
        if target is None:
            self.wider.add("$ref")
            return
        name = self._names.get(id(target))
        if name is None:
            name = self._names[id(target)] = f"d{len(self._names)}"
            self._waiting.append((name, target))
        out["$ref"] = f"#/$defs/{name}"

    def target(self, schema: dict[str, Any], reference: Any) -> Schema | None:
        """What a `$ref` of `schema` leads to; None where it leads out of the document."""
        if not isinstance(reference, str):
            raise ConstraintError(f"a $ref is {_short(reference)}; it must be a string")
        return self.references.resolve(reference, schema)

    def _dynamic(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        self.wider.add(key)

    # ---- objects ----

    def _members(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        out[key] = {name: self.node(value) for name, value in _mapping(schema, key).items()}

    def _patterned(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        patterns = _mapping(schema, key)
        if not schema.get("properties"):  # what is asked of every other member too needs no pattern
            patterns = {name: part for name, part in patterns.items() if part != schema.get("additionalProperties")}
        if not patterns:
            return
        loose = self.loosening.names or self.loosening.strings
        if loose or (self.loosening.patterns and not all(map(self.readable, patterns))):
            self.wider.add(key)
            return
        if any(map(LEAKS.search, patterns)):
            self.wider.add(key)
        out[key] = {name: self.node(value) for name, value in patterns.items()}

    def _additional(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        value = self.node(schema[key])
        patterns = _mapping(schema, "patternProperties") if "patternProperties" in schema else {}
        loose = self.loosening.names or self.loosening.strings
        if patterns and (loose or (self.loosening.patterns and not all(map(self.readable, patterns)))):
            options = [*map(self.node, patterns.values()), value]
            value = True if True in options else {"anyOf": [option for option in options if option is not False]}
        out[key] = value

    def _unevaluated(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if self.draft < 2019 or schema[key] is True:
            return
        applicators = ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "not")
        plain = key == "unevaluatedProperties" and "additionalProperties" not in schema
        if plain and not any(word in schema for word in applicators):
            out["additionalProperties"] = self.node(schema[key])
        else:
            self.wider.add(key)

    def _property_names(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        names = schema[key]
        if self.draft == 4 or names is True or names == {}:
            return
        if names is False:
            more.append(negation.only("object", {"maxProperties": 0}))
            return
        patterns = name_patterns(names) if isinstance(names, dict) and not self.loosening.names else None
        if patterns is None or (self.loosening.patterns and not all(map(self.readable, patterns))):
            self.wider.add(key)
            return
        if any(map(LEAKS.search, patterns)):
            self.wider.add(key)
        more += [{"patternProperties": {pattern: True}, "additionalProperties": False} for pattern in patterns]

    # ---- arrays ----

    def _items(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        value = schema[key]
        if isinstance(value, list):
            out["prefixItems"] = [self.node(item) for item in value]
        else:
            out["items"] = self.node(value)

    def _prefix(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if self.draft == 2020:
            out[key] = [self.node(item) for item in schema[key]]

    def _additional_items(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if isinstance(schema.get("items"), list):
            if self.draft == 2020:
                self.wider.add(key)
            else:
                out["items"] = self.node(schema[key])

    def _unique(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if schema[key] is True and not _at_most_one(schema):
            self.wider.add(key)

    def _contains(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if self.draft == 4:
            return
        self.wider.add(key)
        least = schema.get("minContains", 1) if self.draft >= 2019 else 1
        if least >= 1:
            more.append({"minItems": int(least)})

    # ---- combinations ----

    def _all_of(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        out[key] = [self.node(part) for part in _list(schema, key)]

    def _any_of(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        self._alternatives([self.node(part) for part in _list(schema, key)], out, more)

    def _alternatives(self, options: Sequence[Schema], out: dict[str, Any], more: list[Schema]) -> None:
        if True in options:
            return
        if "anyOf" in out:
            more.append({"anyOf": list(options)})
        else:
            out["anyOf"] = list(options)

    def _one_of(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        parts = _list(schema, key)
        if not self.disjoint.all(parts, schema):
            exclusive = None if self.loosening.conditions else self._exclusive(parts)
            if exclusive is not None:
                more.append(exclusive)
                return
            self.wider.add(key)
            parts = [part for part in parts if parts.count(part) == 1]  # what stands twice never holds alone
        self._alternatives([self.node(part) for part in parts], out, more)

    def _exclusive(self, parts: Sequence[Schema]) -> Schema | None:
        """Each branch without the others, where the others can be negated exactly and briefly."""
        if not 1 < len(parts) <= 6:
            return None
        before = set(self.wider)
        self.wider = set()
        negated = [negation.negate(self, part) for part in parts]
        exact = not self.wider
        self.wider = before
        sizes = [len(part.get("anyOf", (0,))) if isinstance(part, dict) else 1 for part in negated]
        if not exact or len(parts) * math.prod(sizes) > _MOST_ALTERNATIVES:
            return None
        options = []
        for place, part in enumerate(parts):
            others = [other for at, other in enumerate(negated) if at != place and other is not True]
            if False not in others:
                options.append({"allOf": [self.node(part), *others]})
        return {"anyOf": options} if options else False

    def _not(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if isinstance(schema.get("enum"), list) and (excluded := negation.values(schema[key])) is not None:
            out["enum"] = [value for value in schema["enum"] if not any(negation.same(value, e) for e in excluded)]
            if not out["enum"]:
                more.append(False)
            return
        more.append(negation.negate(self, schema[key]))

    def _if(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if self.draft < 7 or not ("then" in schema or "else" in schema):
            return
        condition, then, otherwise = schema["if"], schema.get("then", True), schema.get("else", True)
        met = {"allOf": [self.node(condition), self.node(then)]}
        missed = {"allOf": [negation.negate(self, condition), self.node(otherwise)]}
        more.append({"anyOf": [met, missed]})

    def _dependencies(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if (key == "dependencies") != (self.draft <= 7):
            if key == "dependencies":
                self.wider.add(key)
            return
        for name, needed in _mapping(schema, key).items():
            absent = {"properties": {name: False}}
            if isinstance(needed, list | str):
                needed = [needed] if isinstance(needed, str) else needed
                present = {"required": [name, *needed]} if needed else True
            else:
                present = {"allOf": [{"required": [name]}, self.node(needed)]}
            if present is not True:
                more.append({"anyOf": [absent, present]})

    # ---- strings ----

    def _format(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        name = schema[key]
        if name in CHECKED_FORMATS or (name in EXACT_FORMATS and self.loosening.strings):
            self.wider.add(f"format {name}")
        elif name in CALENDAR:
            more.append({"pattern": CALENDAR[name]})
        elif name in EXACT_FORMATS:
            out[key] = name

    def _content(self, schema: dict[str, Any], key: str, out: dict[str, Any], more: list[Schema]) -> None:
        if self.draft in (6, 7):
            self.wider.add(key)


def _at_most_one(schema: Mapping[str, Any]) -> bool:
    return isinstance(schema.get("maxItems"), int | float) and schema["maxItems"] <= 1


def _mapping(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if not isinstance(schema[key], dict):
        raise ConstraintError(f"{key} is {_short(schema[key])}; it must be an object")
    value: Mapping[str, Any] = schema[key]
    return value


def _list(schema: Mapping[str, Any], key: str) -> Sequence[Any]:
    if not isinstance(schema[key], list):
        raise ConstraintError(f"{key} is {_short(schema[key])}; it must be a list of schemas")
    value: Sequence[Any] = schema[key]
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
