"""Who decides whether a tool is called."""

from __future__ import annotations

from bezel.backends.interface import Request
from bezel.errors import ToolChoiceError
from bezel.text.tools import NamedTool, check_tools


def choose_tool(request: Request) -> None:
    """Raises ToolChoiceError for a choice that the tools do not allow or that nothing here can enforce.

    "required" and a named tool must hold whatever the model would rather say, which takes a constraint on its tokens.
    """
    tools, choice = check_tools(request.tools), request.tool_choice
    if choice in ("none", "auto"):
        return
    if isinstance(choice, NamedTool) and all(tool["function"]["name"] != choice.name for tool in tools):
        names = ", ".join(tool["function"]["name"] for tool in tools) or "none"
        raise ToolChoiceError(f"tool_choice names {choice.name!r}, which is no tool of this request; tools: {names}")
    if not tools:
        raise ToolChoiceError(f"tool_choice is {choice!r} and no tools are offered; send tools or leave it out")
    wanted = f"a call to {choice.name}" if isinstance(choice, NamedTool) else "a call"
    raise ToolChoiceError(
        f'nothing here can force {wanted} yet; use tool_choice "auto" and check Result.calls, or offer one tool only'
    )
