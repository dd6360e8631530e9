"""Tools of MCP servers, which are started as subprocesses and spoken to over their standard input and output."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from bezel.errors import ToolError
from bezel.tools.tool import Tool

STARTS_WITHIN = 60.0
ENDS_WITHIN = 15.0
# Python prints what no handler takes: of the library a traceback for every line that is no MCP.
logging.getLogger("mcp").addHandler(logging.NullHandler())


@contextmanager
def mcp_tools(command: str, call_timeout: float = 60.0) -> Iterator[list[Tool]]:
    """The tools of the MCP server that `command` (as in a shell, but without one) starts; it ends with the block.

    The server runs with this user's rights and few of this process's environment variables. Raises ToolError where the
    command cannot be read, the `mcp` library is missing, or the server does not start within STARTS_WITHIN seconds.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ToolError(f"{command}: is no command of an MCP server ({error}); quote it as in a shell") from None
    if not words:
        raise ToolError("the command of the MCP server is empty")
    server = _Server(words, call_timeout)
    try:
        yield server.start()
    finally:
        server.end()


class _Server:
    """A session in an event loop of its own thread. The library wants it opened and closed in one task."""

    def __init__(self, words: list[str], call_timeout: float) -> None:
        self._words, self._call_timeout = words, call_timeout
        self._ready = threading.Event()
        self._tools: list[Tool] = []
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"MCP {words[0]}", daemon=True)

    def start(self) -> list[Tool]:
        try:
            import mcp  # noqa: F401
        except ImportError:
            raise ToolError("MCP servers need the mcp library; run: pip install 'bezel[mcp]'") from None
        self._thread.start()
        if not self._ready.wait(STARTS_WITHIN):
            raise ToolError(f"{self._words[0]}: did not speak MCP within {STARTS_WITHIN:g} seconds")
        if self._error is not None:
            raise ToolError(f"{self._words[0]}: no MCP server ({_innermost(self._error)})") from self._error
        return self._tools

    def end(self) -> None:
        if self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(ENDS_WITHIN)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            try:
                runner.run(self._serve())
            except BaseException as error:
                self._error = error
            finally:
                self._ready.set()

    async def _serve(self) -> None:
        from mcp import Client, StdioServerParameters

        where = StdioServerParameters(command=self._words[0], args=self._words[1:])
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(STARTS_WITHIN):
                client = await stack.enter_async_context(Client(where, read_timeout_seconds=self._call_timeout))
                listed = await client.list_tools()
            self._tools = [
                Tool(one.name, one.description or "", one.input_schema, self._caller(client, one.name))
                for one in listed.tools
            ]
            self._ready.set()
            await self._over.wait()

    def _caller(self, client: Any, name: str) -> Callable[[dict[str, Any]], Any]:
        def call(arguments: dict[str, Any]) -> Any:
            asked: Coroutine[Any, Any, Any] = client.call_tool(name, arguments)
            assert self._loop is not None
            result = asyncio.run_coroutine_threadsafe(asked, self._loop).result(self._call_timeout)
            said = _text(result)
            if result.is_error:
                raise RuntimeError(said)
            return said

        return call


def _text(result: Any) -> str:
    """What a model is told of a result: its texts; of anything else that it is there."""
    parts = [part.text if part.type == "text" else f"[{part.type}, not shown]" for part in result.content]
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts)


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
