"""Calls between control pieces: FunctionGemma's and Gemma 4's own form, which differ in the pieces only.

<open>call:name{key:<quote>text<quote>,other:3}<close>; names of arguments stand bare, texts between two quote pieces
with nothing escaped, numbers, true, false, null, {...} and [...] as in JSON. Since quotes are control pieces, which
text never becomes, every text can be an argument.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bezel.text.dialects.python_values import identifies
from bezel.text.dialects.reader import END, Control, MalformedError, Reader, Reading, deeper, inside, quoted

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True)
class Pieces:
    """The control pieces of a native form. `thought`: those around what a model thinks before it answers."""

    declare: tuple[str, str]
    call: tuple[str, str]
    respond: tuple[str, str]
    quote: str
    thought: tuple[str, ...] = ()


FUNCTION_GEMMA = Pieces(
    ("<start_function_declaration>", "<end_function_declaration>"),
    ("<start_function_call>", "<end_function_call>"),
    ("<start_function_response>", "<end_function_response>"),
    "<escape>",
)
GEMMA_4 = Pieces(
    ("<|tool>", "<tool|>"),
    ("<|tool_call>", "<tool_call|>"),
    ("<|tool_response>", "<tool_response|>"),
    '<|"|>',
    ("<|channel>", "<channel|>"),
)


class NativeReader(Reader):
    """Reads native calls. Texts that the model forgot to quote are taken as they stand, up to the next separator."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        super().__init__()

    def _read(self) -> Reading:
        while True:
            atom = yield from self._peek()
            if atom == END:
                return
            self._mark()
            if not isinstance(atom, Control):
                self._say(self._take())
            elif atom == self._pieces.call[0]:
                yield from self._call()
            else:
                self._take()

    def _call(self) -> Reading:
        self._take()
        try:
            yield from self._spaces()
            yield from self._expect("call:")
            yield from self._spaces()
            name = yield from self._while(identifies)
            if not name:
                raise MalformedError("a function's name is missing")
            yield from self._spaces()
            if (yield from self._peek()) != "{":
                raise MalformedError("'{' is missing")
            self._start(name)
            yield from self._items("}", 0)
            yield from self._spaces()
            atom = yield from self._peek()
            if atom != END and not isinstance(atom, Control):
                raise MalformedError(f"{atom!r} stands behind the arguments")
            if atom == self._pieces.call[1]:
                self._take()
            self._finish()
        except MalformedError as error:
            if not self._open:
                self._say("".join(atom for atom in self._taken if not isinstance(atom, Control)))
                return
            yield from self._skip()
            self._break(str(error))

    def _skip(self) -> Reading:
        """Goes past the end of a call that cannot be read."""
        while True:
            atom = yield from self._peek()
            if atom in (END, self._pieces.call[0]):
                return
            self._taken.append(self._atoms.popleft())
            if atom == self._pieces.call[1]:
                return

    def _items(self, closing: str, depth: int) -> Reading:
        depth = deeper(depth)
        self._add(self._take())
        first = True
        while True:
            yield from self._spaces()
            if first and (yield from self._peek()) == closing:
                break
            if closing == "}":
                yield from self._key()
            yield from self._value(depth)
            first = False
            yield from self._spaces()
            atom = yield from self._peek()
            if atom == closing:
                break
            yield from self._expect(",")
            self._add(",")
        self._add(self._take())

    def _key(self) -> Reading:
        if (yield from self._peek()) == self._pieces.quote:
            yield from self._quoted()
            yield from self._spaces()
        else:
            name = yield from self._while(lambda character: character not in ":,{}[]")
            if not name.strip():
                raise MalformedError("an argument's name is missing")
            self._add(quoted(name.strip()))
        yield from self._expect(":")
        self._add(":")

    def _value(self, depth: int) -> Reading:
        yield from self._spaces()
        atom = yield from self._peek()
        if atom == self._pieces.quote:
            yield from self._quoted()
        elif atom == "{":
            yield from self._items("}", depth)
        elif atom == "[":
            yield from self._items("]", depth)
        else:
            bare = (yield from self._while(lambda character: character not in ",{}[]")).strip()
            if not bare:
                raise MalformedError("a value is missing")
            self._add(_WORDS.get(bare) or (bare if _NUMBER.fullmatch(bare) else quoted(bare)))

    def _quoted(self) -> Reading:
        self._take()
        self._add('"')
        while True:
            atom = yield from self._peek()
            if atom == END or (isinstance(atom, Control) and atom != self._pieces.quote):
                raise MalformedError("a text has no closing quote")
            self._take()
            if isinstance(atom, Control):
                break
            self._add(inside(atom))
        self._add('"')


def value(what: Any, quote: str) -> str:
    """A JSON value in the native form; names in the order that models were trained on."""
    if isinstance(what, str):
        return f"{quote}{what}{quote}"
    if isinstance(what, Mapping):
        return "{" + ",".join(f"{key}:{value(what[key], quote)}" for key in ordered(what)) + "}"
    if isinstance(what, Sequence):
        return "[" + ",".join(value(item, quote) for item in what) + "]"
    return json.dumps(what)


def declaration(tool: Mapping[str, Any], pieces: Pieces) -> str:
    """A tool (OpenAI's shape) as the model is told of it. Only what models were trained on is said of a parameter."""
    function, quote = tool["function"], pieces.quote
    parts = [f"description:{value(function.get('description') or '', quote)}"]
    schema = function.get("parameters")
    if schema:
        parts.append(
            "parameters:{" + ",".join([*_members(schema, quote), _type({"type": "object", **schema}, quote)]) + "}"
        )
    return f"{pieces.declare[0]}declaration:{function['name']}{{{','.join(parts)}}}{pieces.declare[1]}"


def call(function: Mapping[str, Any], pieces: Pieces) -> str:
    """A call of the history: {"name", "arguments"}."""
    return f"{pieces.call[0]}call:{function['name']}{value(function['arguments'], pieces.quote)}{pieces.call[1]}"


def response(name: str, content: str, pieces: Pieces) -> str:
    """A tool's result. A JSON object is written as one; any other text is the object's only `value`."""
    result: Any = {"value": content}
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        result = parsed
    return f"{pieces.respond[0]}response:{name}{value(result, pieces.quote)}{pieces.respond[1]}"


def ordered(names: Mapping[str, Any]) -> list[str]:
    """Names of members in the order that models were trained on."""
    return sorted(names, key=lambda name: str(name).lower())


def _property(schema: Any, quote: str) -> str:
    if not isinstance(schema, Mapping):
        return "{}"
    parts = [f"description:{value(schema['description'], quote)}"] if schema.get("description") else []
    if isinstance(schema.get("enum"), Sequence):
        parts.append(f"enum:{value(schema['enum'], quote)}")
    if isinstance(schema.get("items"), Mapping):
        parts.append(f"items:{_property(schema['items'], quote)}")
    parts += _members(schema, quote)
    if _nullable(schema):
        parts.append("nullable:true")
    return "{" + ",".join([*parts, _type(schema, quote)]).rstrip(",") + "}"


def _members(schema: Mapping[str, Any], quote: str) -> list[str]:
    parts = []
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and properties:
        inner = ",".join(f"{name}:{_property(properties[name], quote)}" for name in ordered(properties))
        parts.append(f"properties:{{{inner}}}")
    if schema.get("required"):
        parts.append(f"required:{value(list(schema['required']), quote)}")
    return parts


def _nullable(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return not isinstance(kind, str) and isinstance(kind, Sequence) and "null" in kind


def _type(schema: Mapping[str, Any], quote: str) -> str:
    kind = schema.get("type")
    if not isinstance(kind, str) and isinstance(kind, Sequence):
        kind = next((one for one in kind if one != "null"), None)
    if not isinstance(kind, str) and "enum" in schema:
        kind = "string"
    return f"type:{value(kind.upper(), quote)}" if isinstance(kind, str) else ""
