"""Executing calls: side by side, each with a time limit, and whatever goes wrong becomes a result."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bezel.text.calls import Call
from bezel.tools.checking import problems

if TYPE_CHECKING:
    from bezel.tools.tool import Tool

RESULT_LIMIT = 64 << 10
AT_ONCE = 8
_NO_JSON = re.compile("NaN|Infinity")  # what Python writes for numbers that JSON does not have
Trouble = Literal["unknown", "arguments", "exception", "timeout"]


@dataclass(frozen=True)
class ToolRun:
    """One call: what was asked, the `content` that the model is told, and the seconds it took.

    `trouble` is None where the tool returned; else there is no such tool, its arguments do not fit, it raised, or it
    took too long, and `content` says so: {"error": "..."}.
    """

    id: str
    call: Call
    content: str
    seconds: float
    trouble: Trouble | None = None


def run_calls(
    calls: Sequence[tuple[str, Call]], tools: Mapping[str, Tool], timeout: float, parallel: bool = True
) -> Iterator[ToolRun]:
    """Execute (id, call) pairs; the runs come in their order. With `parallel`, AT_ONCE run side by side.

    A function that goes on after `timeout` seconds cannot be stopped in Python: its thread is left behind, and what it
    returns is dropped.
    """
    size = AT_ONCE if parallel else 1
    for at in range(0, len(calls), size):
        running = [_Running(identity, call, tools) for identity, call in calls[at : at + size]]
        ends = time.monotonic() + timeout
        for one in running:
            yield one.wait(ends, timeout)


class _Running:
    """A call in a thread of its own, which does not keep the process alive."""

    def __init__(self, identity: str, call: Call, tools: Mapping[str, Tool]) -> None:
        self._identity, self._call = identity, call
        self._done: tuple[str, Trouble | None, float] | None = None
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(tools,), name=f"tool {call.name}", daemon=True)
        self._thread.start()

    def _run(self, tools: Mapping[str, Tool]) -> None:
        try:
            content, trouble = execute(self._call, tools)
        except BaseException as error:  # sys.exit() too ends the call and no more: this thread is the call's own
            content, trouble = _raised(error), "exception"
        self._done = content, trouble, time.monotonic() - self._began

    def wait(self, ends: float, timeout: float) -> ToolRun:
        self._thread.join(min(max(0.0, ends - time.monotonic()), threading.TIMEOUT_MAX))
        if self._done is None:
            late = _error(f"{self._call.name} took longer than {timeout:g} seconds")
            return ToolRun(self._identity, self._call, late, timeout, "timeout")
        content, trouble, seconds = self._done
        return ToolRun(self._identity, self._call, content, seconds, trouble)


def execute(call: Call, tools: Mapping[str, Tool]) -> tuple[str, Trouble | None]:
    """Execute a call here and now: its result as text, and what went wrong."""
    tool = tools.get(call.name)
    if tool is None:
        return _error(f"there is no tool {call.name!r}; tools: {', '.join(tools) or 'none'}"), "unknown"
    wrong = problems(call.arguments, tool.parameters)
    if wrong:
        return _error("; ".join(wrong)), "arguments"
    try:
        result = tool.call(call.arguments)
        if inspect.isawaitable(result):
            import asyncio  # with TLS and more, 4 MB that other tools do not need

            result = asyncio.run(_awaited(result))
        return as_text(result), None
    except Exception as error:
        return _raised(error), "exception"


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def as_text(result: Any) -> str:
    """A result as the model is told it: text as it stands, anything else as JSON; at most RESULT_LIMIT characters.

    Half a surrogate pair becomes U+FFFD. Numbers that JSON does not have are texts: "NaN", "Infinity", "-Infinity".
    """
    if isinstance(result, str):
        text = result
    else:
        text = json.dumps(result, ensure_ascii=False, default=_plain)
        if _NO_JSON.search(text):
            text = json.dumps(json.loads(text, parse_constant=str), ensure_ascii=False)
    text = _whole(text)
    if len(text) <= RESULT_LIMIT:
        return text
    return f"{text[:RESULT_LIMIT]}\n[{len(text) - RESULT_LIMIT} more characters were left out]"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    dump: Callable[..., Any] | None = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None else str(value)


def _whole(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair, which no encoding has."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _raised(error: BaseException) -> str:
    try:
        return _error(f"{type(error).__name__}: {error}")
    except Exception:  # its own words cannot be had
        return _error(type(error).__name__)


def _error(message: str) -> str:
    return json.dumps({"error": _whole(message)[:2000]}, ensure_ascii=False)
