"""Calls as models that are asked in words write them: JSON at the beginning of a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bezel.generation.constraints.calls.answering import Calls
from bezel.generation.constraints.calls.judges import ListJudge, ReadJudge
from bezel.generation.constraints.calls.offers import Offers
from bezel.generation.constraints.compiling import Compiled, Compiler, json_form
from bezel.generation.constraints.gate import Gate
from bezel.generation.constraints.judging import DocumentJudge
from bezel.generation.constraints.matching import Following
from bezel.generation.constraints.rewriting import Rewritten
from bezel.text.dialects.prompted import PromptedReader

_LARGEST = 1 << 60  # The bound of numbers that have none: no exponent, which could go beyond float64.


class PromptedForm:
    """{"name": ..., "parameters": {...}}, or a list of such."""

    name = "prompted"

    def compile(self, compiler: Compiler, offers: Offers) -> Calls:
        """See `CallForm.compile`."""
        schema = offers.calls()
        names = {name: list(part.get("properties", ())) for name, part in offers.parameters.items()}
        judge = ListJudge(
            DocumentJudge(Gate(schema), compiler.vocabulary),
            ReadJudge.of(offers, compiler.vocabulary, lambda: PromptedReader(names)),
        )
        compiled = compiler.loosened(schema, _bounded, judge)
        return Calls(compiler.vocabulary, lambda: Lines(compiled, tuple(names)), compiled.start)


def _bounded(rewritten: Rewritten) -> str:
    if not all(map(_bound, _nodes(rewritten.schema))):
        rewritten.wider.add("values of any kind")
    return json_form(rewritten.schema)


def _bound(schema: Any) -> bool:
    """Give numbers that have no bounds some; False for a schema whose numbers cannot be reached."""
    if isinstance(schema, bool):
        return not schema
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if "number" in kinds and not {"minimum", "exclusiveMinimum", "enum", "const"} & schema.keys():
        schema["minimum"] = -_LARGEST
    if "number" in kinds and not {"maximum", "exclusiveMaximum", "enum", "const"} & schema.keys():
        schema["maximum"] = _LARGEST
    if "object" in kinds and "additionalProperties" not in schema:
        return False
    if "array" in kinds and "items" not in schema:
        return False
    return bool(kinds or {"enum", "const", "anyOf", "allOf", "$ref"} & schema.keys())


def _nodes(schema: Any) -> list[Any]:
    """A rewritten schema and every schema in it."""
    found, waiting = [], [schema]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, bool):
            continue
        for word in ("properties", "patternProperties", "$defs"):
            waiting += node.get(word, {}).values()
        for word in ("anyOf", "allOf", "prefixItems"):
            waiting += node.get(word, [])
        waiting += [node[word] for word in ("items", "additionalProperties") if word in node]
    return found


# Behind white space and a list's marker at most; behind a call also behind a separator.
_START = r"[\s,;]*(?:(?:[-*]|\d+[.)])[ ])?"
_OPEN = re.compile(_START.encode())
_SURE = re.compile(rf'{_START}(?:\[\s*)?\{{\s*"name"\s*:'.encode())
# Other spellings that readers take for calls, which no grammar follows here.
_OTHERS = r"""
    (?:\[\s*)?\{\s*"(?:function_name|parameters|arguments)"
  | (?:\[\s*)?\{\s*"(?:type|id)"\s*:[^{}]*"(?:name|function_name)"\s*:
  | ```(?:tool_code|tool_calls?|function_call)\b
  | FUNCTION_CALL\s*:
"""


class Lines:
    """Implements `Text`. What may be a call is followed aside, and is one once its first member is a name.

    Calls in other spellings cannot be begun: no grammar would follow them.
    """

    def __init__(self, compiled: Compiled, names: Sequence[str]) -> None:
        self._compiled, self._vocabulary = compiled, compiled.vocabulary
        named = "|".join(map(re.escape, names))
        python = rf"(?:\[\s*)?(?:print\s*\(\s*)?(?:{named})\s*\( | \[\s*(?:{named})\b"
        self._others = re.compile(rf"{_START}(?:{_OTHERS} | {python})".encode(), re.VERBOSE)
        self.resumed()

    def resumed(self) -> None:
        """See `Text.resumed`."""
        self._line = b""  # since a call could begin last
        self._aside: Following | None = None
        self._sure = False

    def begun(self) -> Following | None:
        """See `Text.begun`."""
        return self._aside if self._sure else None

    def takes(self, token: int) -> bool:
        """See `Text.takes`."""
        piece = self._vocabulary.bytes_of([token])[0]
        aside, text = self._aside, self._line + piece
        if aside is None and piece[:1] in (b"{", b"[") and _OPEN.fullmatch(self._line):
            aside = self._compiled.start()
        elif aside is None and self._hides_a_beginning(piece):
            return False
        if aside is not None and aside.allows(token):
            aside.accept(token)
            self._aside, self._line = aside, text
            if _SURE.match(text):
                aside.settle()
                self._sure = True
            return True
        if any(_SURE.match(line) or self._others.match(line) for line in (text, *text.split(b"\n"))):
            return False
        self._aside, self._line = None, text.rpartition(b"\n")[2]
        return True

    def _hides_a_beginning(self, piece: bytes) -> bool:
        """Whether a call may begin inside a token, where nothing could follow it."""
        first, *later = piece.split(b"\n")
        inside = [first] if _OPEN.fullmatch(self._line) else []
        return any(line.lstrip()[:1] in (b"{", b"[") for line in (*inside, *later))
