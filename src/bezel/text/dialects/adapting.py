"""Tools for templates that know nothing of them: declared, called and answered in the messages' text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bezel.text.calls import Call
from bezel.text.dialects.forms import Prompted


@dataclass(frozen=True)
class Knows:
    """What a chat template writes by itself."""

    tools: bool
    calls: bool
    results: bool


def adapted(
    messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]], knows: Knows, dialect: Prompted
) -> tuple[list[dict[str, Any]], Sequence[Mapping[str, Any]]]:
    """Messages and tools for a template: what it does not know stands in the text of messages instead.

    Results that stand together, and a user's message behind them, become one user's message: roles must alternate.
    """
    if tools and not knows.tools:
        messages, tools = _declared(messages, dialect.instructions(tools)), ()
    out: list[dict[str, Any]] = []
    results: list[tuple[str, str]] = []
    for message in messages:
        if message["role"] == "tool" and not knows.results:
            results.append((message.get("name", "the function"), message["content"]))
            continue
        if results:
            said = dialect.results(results)
            results = []
            if message["role"] == "user":
                message = {**message, "content": f"{said}\n\n{message['content']}"}
            else:
                out.append({"role": "user", "content": said})
        if message.get("tool_calls") and not knows.calls:
            message = _spelled(message, dialect)
        out.append(message)
    if results:
        out.append({"role": "user", "content": dialect.results(results)})
    return out, tools


def _declared(messages: list[dict[str, Any]], instructions: str) -> list[dict[str, Any]]:
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": instructions}, *messages]
    said = messages[0]["content"].strip()
    return [{"role": "system", "content": f"{said}\n\n{instructions}" if said else instructions}, *messages[1:]]


def _spelled(message: dict[str, Any], dialect: Prompted) -> dict[str, Any]:
    functions = [call["function"] for call in message["tool_calls"]]
    calls = dialect.calls([Call(function["name"], function["arguments"]) for function in functions])
    said = message["content"].strip()
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": f"{said}\n{calls}" if said else calls}
