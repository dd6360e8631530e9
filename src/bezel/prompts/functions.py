"""Function calls with context, for models that are told of functions in words.

`bezel.load(...).chat(messages, tools=...)` declares tools in the form a model was trained on; prefer it. This builder
is for a model that knows no such form, and for whoever wants to see and change every word. What it asks for,
`FUNCTION_CALL: name(a="b")`, is read as a call wherever tools are offered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from bezel.errors import InvalidRequestError
from bezel.prompts.messages import Message, asked

_RULES = """\
Where the request needs one of them, answer with a line for each call and nothing else:
FUNCTION_CALL: name(argument="text", other=3)
Take the arguments from the request and the context; leave out optional ones that neither mentions, and ask where a
required one is missing. Calls that do not need each other's results stand one under the other. Where no function is
needed, answer in words."""


def function_calling(question: str, functions: Iterable[Mapping[str, Any]], context: str = "") -> list[Message]:
    """Ask a question that functions may help to answer. `functions` are OpenAI tool schemas or their "function" parts.

    `context` is what holds for the whole conversation (who asks, today's date). Raises InvalidRequestError for an empty
    question, for functions without a name, and for parameters that are no JSON Schema of an object.
    """
    if isinstance(functions, str | Mapping) or not isinstance(functions, Iterable):
        raise InvalidRequestError(f"functions is a {type(functions).__name__}; send a list of functions")
    functions = list(functions)
    if not functions:
        raise InvalidRequestError("functions is empty; name at least one, or ask without")
    parts = ["You can call these functions:\n" + "\n".join(map(_function, functions)), _RULES]
    if context.strip():
        parts.append(f"Context: {context.strip()}")
    return [{"role": "system", "content": "\n\n".join(parts)}, {"role": "user", "content": asked(question)}]


def _function(function: Mapping[str, Any]) -> str:
    function = function.get("function", function) if isinstance(function, Mapping) else function
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise InvalidRequestError(f"a function has no name: {function!r}")
    schema = function.get("parameters") or {}
    properties = schema.get("properties") or {} if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        raise InvalidRequestError(f"the parameters of {name} must be a JSON Schema of an object")
    required = schema.get("required") or ()
    lines = [f"- {name}: {function.get('description') or 'no description'}"]
    for key, kind in properties.items():
        if kind is False:
            continue  # no value may stand there
        said = ", ".join([_kind(kind), "required" if key in required else "optional"])
        about = kind.get("description") if isinstance(kind, Mapping) else None
        lines.append(f"  - {key} ({said}){f': {about}' if about else ''}")
    return "\n".join(lines)


def _kind(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "anything"  # the schema true
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(choice, ensure_ascii=False) for choice in schema["enum"])
    kind = schema.get("type", "anything")
    names = kind if isinstance(kind, str) else " or ".join(map(str, kind))
    return f"{names} of {_kind(schema['items'])}" if names == "array" and schema.get("items") else names
