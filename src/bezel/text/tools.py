"""Tools of a request (OpenAI's shape), checked, and who decides whether one is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bezel.errors import InvalidRequestError


@dataclass(frozen=True)
class NamedTool:
    """A tool choice: the model must call this tool."""

    name: str


ToolChoice = Literal["none", "auto", "required"] | NamedTool
"""none: tools are not even shown; auto: the model decides; required: it must call one; NamedTool: it must call that."""


def tool_choice(choice: Any) -> ToolChoice:
    """A tool choice as people write it: a word, a NamedTool, or OpenAI's {"type": "function", "function": {"name"}}.

    Raises InvalidRequestError for anything else.
    """
    if isinstance(choice, NamedTool) or choice in ("none", "auto", "required"):
        found: ToolChoice = choice
        return found
    function = choice.get("function") if isinstance(choice, Mapping) else None
    if isinstance(function, Mapping) and isinstance(function.get("name"), str):
        return NamedTool(function["name"])
    raise InvalidRequestError(
        f'tool_choice is {choice!r}; send "none", "auto", "required" or '
        '{"type": "function", "function": {"name": "..."}}'
    )


def check_tools(tools: Any) -> tuple[Mapping[str, Any], ...]:
    """The tools, each with a "function" of its own name. Raises InvalidRequestError naming the tool and the field."""
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        raise InvalidRequestError(f"tools is a {type(tools).__name__}; send a list of tool schemas")
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping):
            raise InvalidRequestError(f'tools[{index}] must be {{"type": "function", "function": {{...}}}}')
        name = function.get("name")
        if not isinstance(name, str) or not name:
            raise InvalidRequestError(f"tools[{index}].function.name is missing")
        if name in seen:
            raise InvalidRequestError(f"tools[{index}].function.name is {name!r} again; names must differ")
        if not isinstance(function.get("parameters", {}), Mapping | None):
            raise InvalidRequestError(f"tools[{index}].function.parameters must be a JSON Schema object")
        seen.add(name)
    return tuple(tools)


def parameters_of(tools: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Each tool's name with its parameters in order."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}
    return {name: [*(schema.get("properties") or {})] for name, schema in schemas.items()}
