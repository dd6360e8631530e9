"""The dialects: which one a model speaks, and how tools, calls and results are written in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from bezel.text.calls import Call
from bezel.text.dialects import native
from bezel.text.dialects.prompted import PromptedReader
from bezel.text.dialects.reader import Reader
from bezel.text.dialects.templates import FUNCTION_GEMMA_FORM, GEMMA_4_FORM, GEMMA_TEMPLATE, NATIVE_TEMPLATE
from bezel.text.tokenizer import Tokenizer
from bezel.text.tools import parameters_of


class Dialect(Protocol):
    """A form of function calls. `template` is for checkpoints that bring none, `form` what it may refer to."""

    name: str
    template: str
    form: Mapping[str, str]
    filters: Mapping[str, Callable[[Any], str]]

    def reader(self, tools: Sequence[Mapping[str, Any]]) -> Reader:
        """A reader of one answer, where `tools` were offered."""


class Prompted:
    """Gemma 1 to 3n: tools are described in words, calls are JSON, results a user's message.

    These models' own templates know nothing of tools, so `instructions`, `calls` and `results` write them as text.
    """

    name = "gemma"
    template = GEMMA_TEMPLATE
    form: Mapping[str, str] = {}
    filters: Mapping[str, Callable[[Any], str]] = {}

    def reader(self, tools: Sequence[Mapping[str, Any]]) -> Reader:
        """See `Dialect.reader`."""
        return PromptedReader(parameters_of(tools))

    def instructions(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """What the system message says of tools: the form that Google documents for Gemma 3."""
        return (
            "You have access to functions. If you decide to invoke any of the function(s), you MUST put it in the "
            'format of\n{"name": function name, "parameters": dictionary of argument name and its value}\n'
            "You SHOULD NOT include any other text in the response if you call a function\n"
            + json.dumps(list(tools), ensure_ascii=False)
        )

    def calls(self, calls: Sequence[Call]) -> str:
        """Calls of the history, one a line."""
        return "\n".join(
            f'{{"name":{json.dumps(call.name, ensure_ascii=False)},"parameters":{call.arguments_json()}}}'
            for call in calls
        )

    def results(self, results: Sequence[tuple[str, str]]) -> str:
        """(name, content) of each result, in a user's message."""
        return "\n\n".join(f"Result of {name}:\n{content}" for name, content in results)


class Native:
    """FunctionGemma and Gemma 4: calls stand between control pieces."""

    template = NATIVE_TEMPLATE

    def __init__(self, name: str, pieces: native.Pieces, form: Mapping[str, str]) -> None:
        self.name, self.pieces, self.form = name, pieces, form
        self.filters: Mapping[str, Callable[[Any], str]] = {
            "declaration": lambda tool: native.declaration(tool, pieces),
            "call": lambda call: native.call(call["function"], pieces),
            "response": lambda message: native.response(message.get("name", "unknown"), message["content"], pieces),
        }

    def reader(self, tools: Sequence[Mapping[str, Any]]) -> Reader:
        """See `Dialect.reader`."""
        return native.NativeReader(self.pieces)


PROMPTED = Prompted()
FUNCTION_GEMMA = Native("functiongemma", native.FUNCTION_GEMMA, FUNCTION_GEMMA_FORM)
GEMMA_4 = Native("gemma4", native.GEMMA_4, GEMMA_4_FORM)


def dialect_of(tokenizer: Tokenizer, template: str | None) -> Prompted | Native:
    """The native form whose pieces the vocabulary has and the template (if there is one) writes; else the prompted."""
    for dialect in (GEMMA_4, FUNCTION_GEMMA):
        opening = dialect.pieces.call[0]
        if opening in tokenizer.control_pieces and (template is None or opening in template):
            return dialect
    return PROMPTED
