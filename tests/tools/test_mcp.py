"""Tools of an MCP server of our own, in a subprocess."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bezel.errors import ToolError
from bezel.text.calls import Call
from bezel.tools.running import run_calls

pytest.importorskip("mcp")
from bezel.tools.mcp import mcp_tools

SERVER = shlex.join([sys.executable, str(Path(__file__).with_name("mcp_server.py"))])


def gone(process: int) -> bool:
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_servers_tools_are_listed_called_and_the_server_ends() -> None:
    with mcp_tools(SERVER, call_timeout=20) as tools:
        known = {tool.name: tool for tool in tools}
        assert list(known) == ["add", "fail", "process", "sleep"]
        assert known["add"].description == "Adds two numbers."
        assert known["add"].parameters["required"] == ["first", "second"]
        calls = [Call("add", {"first": 2, "second": 40}), Call("fail", {}), Call("add", {"first": "x"})]
        added, failed, refused, process = run_calls(
            [(str(i), call) for i, call in enumerate([*calls, Call("process", {})])], known, timeout=20
        )
        assert (added.content, added.trouble) == ("42", None)
        assert failed.trouble == "exception" and "on purpose" in failed.content
        assert refused.trouble == "arguments" and "second is missing" in refused.content
        (late,) = run_calls([("s", Call("sleep", {}))], known, timeout=0.5)
        assert late.trouble == "timeout"
    assert gone(int(process.content))


@pytest.mark.parametrize("command", ["", "no-such-command-here", f"{SERVER} --crash"])
def test_what_is_no_server_says_so(command: str) -> None:
    with pytest.raises(ToolError, match=r"empty|no MCP server"), mcp_tools(command):
        pass


def test_a_command_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(ToolError, match="No closing quotation"), mcp_tools("server 'here"):
        pass


def test_a_program_that_speaks_something_else_is_one_line() -> None:
    code = (
        "from bezel.errors import ToolError\nfrom bezel.tools.mcp import mcp_tools\n"
        "try:\n    with mcp_tools('echo hi'): pass\nexcept ToolError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("echo: no MCP server") and done.stderr == ""
