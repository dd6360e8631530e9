"""A small MCP server for the tests: python mcp_server.py."""

import os
import sys
import time

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("for tests")


@server.tool()
def add(first: int, second: int) -> str:
    """Adds two numbers."""
    return str(first + second)


@server.tool()
def fail() -> str:
    """Fails."""
    raise ToolError("on purpose")


@server.tool()
def process() -> str:
    """The server's process id."""
    return str(os.getpid())


@server.tool()
def sleep() -> str:
    """Takes too long."""
    time.sleep(5)
    return "late"


if __name__ == "__main__":
    if "--crash" in sys.argv:
        sys.exit(3)
    server.run("stdio")
