"""Functions that a model may call: schemas from Python, and the loop that executes calls and feeds back results."""

from bezel.tools.loop import Round, Transcript, run_tools
from bezel.tools.running import ToolRun
from bezel.tools.tool import Tool, tool, tools_of

__all__ = ["Round", "Tool", "ToolRun", "Transcript", "run_tools", "tool", "tools_of"]
