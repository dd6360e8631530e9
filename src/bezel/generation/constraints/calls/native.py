"""Native calls: from JSON Schema to a Lark grammar of call:name{key:value,...} for llguidance.

Members come in the order that models were trained on. Texts stand between two quote pieces, with nothing escaped, so
that a pattern or a length is the text's own. What Lark cannot say makes the grammar wider, and `wider` says why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from llguidance import LLMatcher

from bezel.errors import ConstraintError
from bezel.generation.constraints.calls.answering import Calls
from bezel.generation.constraints.calls.judges import ReadJudge
from bezel.generation.constraints.calls.meeting import meet
from bezel.generation.constraints.calls.offers import Offers
from bezel.generation.constraints.calls.texts import text_pattern
from bezel.generation.constraints.compiling import Compiled, Compiler
from bezel.generation.constraints.matching import Following
from bezel.generation.constraints.negation import literal
from bezel.generation.constraints.rewriting import TYPES, Rewritten
from bezel.text.dialects import native

_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_ANY = """\
any: text | number | "true" | "false" | "null" | "[" (any ("," any)*)? "]" | "{" (NAME ":" any ("," NAME ":" any)*)? "}"
number: NUMBER
NUMBER: /-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?/
text: quote TEXT? quote
NAME: /[^\\s:,{}\\[\\]]+/
TEXT: /(?s:.)+/
"""


@dataclass(frozen=True)
class NativeForm:
    """<open>call:name{key:value,...}<close>, anywhere in an answer."""

    name: str
    pieces: native.Pieces

    def compile(self, compiler: Compiler, offers: Offers) -> Calls:
        """See `CallForm.compile`."""
        ids = compiler.vocabulary.tokenizer.control_pieces
        opening, closing = (ids[piece] for piece in self.pieces.call)
        quote = ids[self.pieces.quote]

        def grammar(rewritten: Rewritten) -> str:
            members = rewritten.schema.get("properties", {})
            parameters = {name: members.get(name, {"type": "object"}) for name in offers.parameters}
            writer = Writer(rewritten.schema.get("$defs", {}), quote, compiler.reads, rewritten.wider)
            try:
                return str(LLMatcher.grammar_from_lark(writer.calls(parameters, (opening, closing))))
            except ImpossibleError:
                raise ConstraintError("no arguments satisfy the parameters; check them for contradictions") from None

        judge = ReadJudge.of(offers, compiler.vocabulary, lambda: native.NativeReader(self.pieces))
        compiled = compiler.loosened(offers.arguments(), grammar, judge, (opening, closing, quote))
        thought = (ids[piece] for piece in self.pieces.thought if piece in ids)
        return Calls(compiler.vocabulary, lambda: Between(compiled, opening), compiled.start, (opening, *thought))


class Between:
    """Implements `Text`: all that stands between calls."""

    def __init__(self, compiled: Compiled, opening: int) -> None:
        self._compiled, self._opening = compiled, opening
        self._call: Following | None = None

    def takes(self, token: int) -> bool:
        """See `Text.takes`."""
        if token == self._opening:
            self._call = self._compiled.start()
            self._call.accept(token)
        return True

    def begun(self) -> Following | None:
        """See `Text.begun`."""
        return self._call

    def resumed(self) -> None:
        """See `Text.resumed`."""
        self._call = None


class ImpossibleError(Exception):
    """No value is allowed here. Never leaves this package."""


@dataclass
class Writer:
    """Writes the rules of one grammar. `definitions`: what `$ref` leads to; `quote`: the id of the quote piece.

    `readable` says whether llguidance reads a regular expression.
    """

    definitions: Mapping[str, Any]
    quote: int
    readable: Callable[[str], bool]
    wider: set[str] = field(default_factory=set)
    _rules: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def calls(self, parameters: Mapping[str, Any], ends: tuple[int, int]) -> str:
        """The grammar of one call between the pieces with the ids `ends`.

        Raises ImpossibleError where no tool can be called.
        """
        calls = []
        for name, schema in parameters.items():
            try:
                calls.append(f"{_literal(f'call:{name}')} {self.value(schema)}")
            except ImpossibleError:
                self.wider.add(f"{name} takes no arguments at all")
        if not calls:
            raise ImpossibleError
        start = f"start: <[{ends[0]}]> ({' | '.join(calls)}) <[{ends[1]}]>"
        return "\n".join([start, f"quote: <[{self.quote}]>", _ANY, *self._rules])

    def value(self, schema: Any) -> str:
        """An expression for the values of `schema`. Raises ImpossibleError where there are none."""
        if schema is True or schema == {}:
            return "any"
        if schema is False:
            raise ImpossibleError
        if "const" in schema or "enum" in schema:
            return self._listed(schema)
        if "$ref" in schema:
            return self._referred(schema)
        if "allOf" in schema:
            return self.value(self._merged([_without(schema, "allOf"), *schema["allOf"]]))
        if "anyOf" in schema:
            rest = _without(schema, "anyOf")
            return self._either([partial(self._together, rest, part) for part in schema["anyOf"]])
        kinds = schema.get("type", TYPES)
        kinds = [kinds] if isinstance(kinds, str) else kinds
        return self._either([partial(self._of_type, kind, schema) for kind in kinds])

    def _together(self, one: Any, other: Any) -> str:
        return self.value(self._merged([one, other]))

    def _either(self, options: Sequence[Callable[[], str]]) -> str:
        found = []
        for option in options:
            try:
                found.append(option())
            except ImpossibleError:
                continue
        if not found:
            raise ImpossibleError
        return found[0] if len(found) == 1 else f"({' | '.join(dict.fromkeys(found))})"

    def _of_type(self, kind: str, schema: Mapping[str, Any]) -> str:
        if kind == "string":
            return self._text(schema)
        if kind in ("number", "integer"):
            limits = {word: schema[word] for word in _LIMITS if word in schema}
            return self._rule(f"%json {json.dumps({'type': kind, **limits})}") if limits else self._plain(kind)
        if kind == "boolean":
            return '("true" | "false")'
        if kind == "null":
            return '"null"'
        return self._array(schema) if kind == "array" else self._object(schema)

    def _plain(self, kind: str) -> str:
        return "number" if kind == "number" else self._rule('%json {"type": "integer"}')

    def _rule(self, body: str, letter: str = "r") -> str:
        """The name of the rule that says `body`; capital letters begin the names of terminals."""
        if body not in self._names:
            self._names[body] = f"{letter}{len(self._names)}"
            self._rules.append(f"{self._names[body]}: {body}")
        return self._names[body]

    def _text(self, schema: Mapping[str, Any]) -> str:
        pattern, exact = text_pattern(schema, self.readable)
        if not exact:
            self.wider.add("texts")
        if pattern is None:
            return "text"
        if schema.get("maxLength") == 0:
            return "quote quote"
        terminal = self._rule(pattern, "T")
        may_be_empty = not {"minLength", "pattern", "format"} & schema.keys()
        return f"quote {terminal}{'?' if may_be_empty else ''} quote"

    def _listed(self, schema: Mapping[str, Any]) -> str:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        kinds = schema.get("type")
        if kinds is not None:
            kinds = [kinds] if isinstance(kinds, str) else kinds
            values = [value for value in values if _kinds(value) & set(kinds)]
        if set(schema) - {"enum", "const", "type"} or {"enum", "const"} <= schema.keys():
            self.wider.add("enum beside other words")
        return self._either([partial(self._spelled, value) for value in values])

    def _spelled(self, value: Any) -> str:
        """One value, letter by letter."""
        if isinstance(value, str):
            return f"quote {_literal(value)} quote" if value else "quote quote"
        if isinstance(value, Mapping):
            pairs = [f"{self._name(key)} {self._spelled(value[key])}" for key in native.ordered(value)]
            return f'"{{" {_joined(pairs)} "}}"' if pairs else '"{}"'
        if isinstance(value, list):
            return f'"[" {_joined([self._spelled(item) for item in value])} "]"' if value else '"[]"'
        return _literal(json.dumps(value))

    def _referred(self, schema: Mapping[str, Any]) -> str:
        if len(schema) > 1:
            self.wider.add("words beside $ref")
        name = schema["$ref"].rsplit("/", 1)[-1]
        if f"$ref {name}" not in self._names:
            self._names[f"$ref {name}"] = rule = f"r{len(self._names)}"
            self._rules.append(f"{rule}: {self.value(self.definitions[name])}")
        return self._names[f"$ref {name}"]

    def _merged(self, parts: Sequence[Any]) -> Any:
        """One schema for several that hold together."""
        return meet(parts, self.definitions, self.wider)

    def _array(self, schema: Mapping[str, Any]) -> str:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        fixed = schema.get("prefixItems", [])
        items: list[str] = []
        for place, part in enumerate(fixed[:most]):
            try:
                items.append(self.value(part))
            except ImpossibleError:
                if place < least:
                    raise
                most = place
                break
        try:
            further = self.value(schema.get("items", True)) if most is None or most > len(items) else None
        except ImpossibleError:
            further = None
        if further is None:
            most = len(items)
        if most is not None and most < least:
            raise ImpossibleError
        return self._items(items, further, least, most)

    def _items(self, fixed: list[str], further: str | None, least: int, most: int | None) -> str:
        """Between `least` and `most` items, the first as `fixed` says and the rest as `further`."""
        needed = max(0, least - len(fixed))
        room = None if most is None else most - len(fixed)
        tail = ""
        if further is not None and room != 0:
            another = f'("," {further})'
            if fixed:
                tail = _times(another, needed, room)
            else:
                begun = _times(another, max(0, needed - 1), None if room is None else room - 1)
                tail = f"({further} {begun})" + ("" if needed else "?")
        for place in range(len(fixed) - 1, -1, -1):
            item = fixed[place] if place == 0 else f'"," {fixed[place]}'
            tail = f"{item} {tail}" if place < least else f"({item} {tail})?"
        return f'"[" {tail} "]"'

    def _object(self, schema: Mapping[str, Any]) -> str:
        properties: Mapping[str, Any] = schema.get("properties", {})
        required = schema.get("required", [])
        members: list[tuple[str, bool]] = []
        for name in native.ordered({**properties, **dict.fromkeys(required)}):
            part = properties.get(name, schema.get("additionalProperties", True))
            try:
                members.append((f"{self._name(name)} {self.value(part)}", name in required))
            except ImpossibleError:
                if name in required:
                    raise
        if {"minProperties", "maxProperties", "patternProperties"} & schema.keys():
            self.wider.add("counts and patterns of members")
        return f'"{{" {self._members(members, self._more(schema, properties))} "}}"'

    def _more(self, schema: Mapping[str, Any], properties: Mapping[str, Any]) -> str | None:
        """A member that is not declared, or None where there can be none."""
        allowed = schema.get("additionalProperties", True)
        if schema.get("patternProperties"):
            allowed = True
        try:
            value = self.value(allowed)
        except ImpossibleError:
            return None
        body = "/[^\\s:,{}\\[\\]]+/"
        if properties:
            body += f" & ~/{'|'.join(map(literal, properties))}/"
        return f'{self._rule(body, "N")} ":" {value}'

    def _members(self, members: Sequence[tuple[str, bool]], more: str | None) -> str:
        """Members in their order; those that are not required may be missing, and `more` may follow."""
        first = f'({more} ("," {more})*)?' if more else ""
        behind = f'("," {more})*' if more else ""
        for pair, needed in reversed(members):
            begun = f'"," {pair} {behind}'
            begun_here = f"({pair} {behind})"
            first = begun_here if needed else f"({begun_here} | {first})" if first else f"{begun_here}?"
            behind = self._rule(begun if needed else f'("," {pair})? {behind}')
            first = self._rule(first)
        return first

    def _name(self, name: str) -> str:
        bare = name.strip() == name and name and not set(name) & set(':,{}[]"')
        return _literal(f"{name}:") if bare else f'quote {_literal(name) if name else ""} quote ":"'


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _times(item: str, least: int, most: int | None) -> str:
    if most is None:
        return f"{item}{{{least},}}" if least else f"{item}*"
    return f"{item}{{{least},{most}}}" if most else ""


def _joined(parts: Sequence[str]) -> str:
    return ' "," '.join(parts)


def _without(schema: Mapping[str, Any], word: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != word}


def _kinds(value: Any) -> set[str]:
    if value is None:
        return {"null"}
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return {"integer", "number"}
    return {{float: "number", str: "string", list: "array", dict: "object"}[type(value)]}
