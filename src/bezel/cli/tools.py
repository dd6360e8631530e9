"""Tools that are named on the command line, and what is shown of calls."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bezel.errors import InvalidRequestError

if TYPE_CHECKING:
    from bezel.backends.interface import Event
    from bezel.tools import Tool, ToolRun


@dataclass(frozen=True)
class Offered:
    """`tools` are executed; `schemas` are only shown to the model."""

    tools: Sequence[Tool] = ()
    schemas: Sequence[dict[str, Any]] = ()


@contextmanager
def offered(files: Sequence[Path], servers: Sequence[str]) -> Iterator[Offered]:
    """The tools of Python files, JSON files and MCP servers, which end with the block.

    Raises InvalidRequestError where some are to be executed and some are not, and ToolError.
    """
    schemas = [schema for file in files if file.suffix != ".py" for schema in read_schemas(file)]
    modules = [file for file in files if file.suffix == ".py"]
    if schemas and (modules or servers):
        raise InvalidRequestError("tools of a JSON file are never executed; leave it out, or the others")
    with ExitStack() as stack:
        tools: list[Tool] = []
        if modules:
            from bezel.tools import tools_of

            tools += [tool for file in modules for tool in tools_of(file)]
        if servers:
            from bezel.tools.mcp import mcp_tools

            tools += [tool for server in servers for tool in stack.enter_context(mcp_tools(server))]
        yield Offered(tools, schemas)


def read_schemas(file: Path) -> list[dict[str, Any]]:
    """The tool schemas of a JSON file. Raises InvalidRequestError naming the file."""
    try:
        tools = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise InvalidRequestError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InvalidRequestError(f"{file}: is not JSON ({error})") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and "function" in tool for tool in tools):
        raise InvalidRequestError(f'{file}: must be a list of {{"type": "function", "function": {{...}}}} objects')
    return tools


def show(write: Callable[[str], object]) -> Callable[[Event | ToolRun], None]:
    """Writes text as it comes and a line for each call; what tools return goes to standard error."""
    from bezel.backends.interface import Delta
    from bezel.text.calls import CallBroken, CallFinished
    from bezel.tools import ToolRun

    def listen(event: Event | ToolRun) -> None:
        if isinstance(event, Delta):
            write(event.text)
        elif isinstance(event, CallFinished):
            write(f"{event.call.name}({event.call.arguments_json()})\n")
        elif isinstance(event, CallBroken):
            print(f"bezel: a call to {event.name} cannot be read: {event.reason}", file=sys.stderr)
        elif isinstance(event, ToolRun):
            print(f"{event.call.name} -> {event.content} ({event.seconds:.2f} s)", file=sys.stderr)

    return listen
