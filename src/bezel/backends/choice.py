"""Who decides whether a tool is called, and the constraint that makes calls whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bezel.backends.interface import Request
from bezel.errors import InvalidRequestError, ToolChoiceError
from bezel.text.dialects.forms import Native, Prompted
from bezel.text.tools import NamedTool, check_tools

if TYPE_CHECKING:
    from bezel.generation.constraints.compiling import Compiler
    from bezel.generation.constraints.interface import Constraint


def check_choice(request: Request) -> None:
    """Raises ToolChoiceError for a choice that the tools do not allow, InvalidRequestError beside a constraint."""
    tools, choice = check_tools(request.tools), request.tool_choice
    if choice in ("none", "auto"):
        return
    if request.constraint is not None:
        raise InvalidRequestError(
            "a call is required and the answer has a grammar of its own; leave out tool_choice or the grammar"
        )
    if isinstance(choice, NamedTool) and all(tool["function"]["name"] != choice.name for tool in tools):
        names = ", ".join(tool["function"]["name"] for tool in tools) or "none"
        raise ToolChoiceError(f"tool_choice names {choice.name!r}, which is no tool of this request; tools: {names}")
    if not tools:
        raise ToolChoiceError(f"tool_choice is {choice!r} and no tools are offered; send tools or leave it out")


def constraint_of(request: Request, dialect: Prompted | Native, compiler: Compiler) -> Constraint | None:
    """What the answer may be: texts of the request's grammar, else text and calls of the tools that it offers.

    None where it may be anything. Raises ConstraintError where a grammar or a tool's parameters cannot be followed.
    """
    if request.constraint is not None:
        return compiler.compile(request.constraint).start()
    if not request.offered:
        return None
    from bezel.generation.constraints.calls.forms import form_of

    choice, offered = request.tool_choice, request.offered
    if isinstance(choice, NamedTool):
        offered = [tool for tool in offered if tool["function"]["name"] == choice.name]
    return compiler.calls(form_of(dialect), offered).start(required=choice != "auto")
