"""The loop: the model answers, its calls are executed, their results are fed back, until it answers in words."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from bezel.backends.interface import Result
from bezel.errors import InvalidRequestError
from bezel.generation.sampling import whole
from bezel.text.calls import CallBroken
from bezel.tools.running import ToolRun, run_calls
from bezel.tools.tool import Tool, as_tools

Ask = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], Result]
"""Answers messages, with tool schemas offered."""


@dataclass(frozen=True)
class Round:
    """One answer of the model, and the calls of it that were executed."""

    result: Result
    runs: tuple[ToolRun, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """A conversation with its calls and results: `messages` to go on with, and each round.

    `finished` is False where the last round allowed still had calls: they were executed, and not answered in words.
    """

    messages: tuple[Mapping[str, Any], ...]
    rounds: tuple[Round, ...]
    finished: bool

    @property
    def result(self) -> Result:
        """The last answer."""
        return self.rounds[-1].result

    @property
    def text(self) -> str:
        """The last answer's text."""
        return self.result.text

    @property
    def runs(self) -> tuple[ToolRun, ...]:
        """Every executed call, in order."""
        return tuple(run for one in self.rounds for run in one.runs)


def run_tools(
    ask: Ask,
    messages: Sequence[Mapping[str, Any]],
    tools: Iterable[Tool | Callable[..., Any]],
    max_rounds: int = 8,
    timeout: float = 60.0,
    parallel: bool = True,
    listen: Callable[[ToolRun], object] | None = None,
) -> Transcript:
    """Let a model answer with the help of tools, which are executed here and now.

    Calls of one answer do not know each other's results, so they run side by side unless `parallel` is False, each for
    at most `timeout` seconds. A call that cannot be read, or executed, is answered with what is wrong with it. `listen`
    is told of each run. Raises InvalidRequestError for limits that allow nothing, and ToolError as `tool` does.
    """
    max_rounds = whole("max_rounds", max_rounds, 1)
    if isinstance(timeout, bool) or not isinstance(timeout, Real) or not 0 < timeout < math.inf:
        raise InvalidRequestError(f"timeout is {timeout!r}; it must be a number of seconds above 0")
    timeout = float(min(timeout, threading.TIMEOUT_MAX))
    known = {tool.name: tool for tool in as_tools(tools)}
    schemas = [tool.schema for tool in known.values()]
    chat: list[Mapping[str, Any]] = list(messages)
    rounds: list[Round] = []
    count = sum(len(message.get("tool_calls") or ()) for message in chat)
    while True:
        result = ask(chat, schemas)
        if not result.calls and not result.broken:
            rounds.append(Round(result))
            chat.append({"role": "assistant", "content": result.text})
            return Transcript(tuple(chat), tuple(rounds), True)
        calls = [(f"call_{count + place}", call) for place, call in enumerate(result.calls)]
        count += len(calls)
        runs = []
        for run in run_calls(calls, known, timeout, parallel):
            runs.append(run)
            if listen is not None:
                listen(run)
        rounds.append(Round(result, tuple(runs)))
        chat += _turn(result, runs)
        if len(rounds) == max_rounds:
            return Transcript(tuple(chat), tuple(rounds), False)


def _turn(result: Result, runs: Sequence[ToolRun]) -> list[Mapping[str, Any]]:
    """An answer with calls, their results, and a word on those that cannot be read."""
    said = [result.text.strip(), *(broken.source for broken in result.broken)]
    answer: dict[str, Any] = {"role": "assistant", "content": "\n".join(part for part in said if part)}
    if runs:
        answer["tool_calls"] = [
            {
                "id": run.id,
                "type": "function",
                "function": {"name": run.call.name, "arguments": run.call.arguments_json()},
            }
            for run in runs
        ]
    results = [{"role": "tool", "tool_call_id": run.id, "name": run.call.name, "content": run.content} for run in runs]
    complaints = [{"role": "user", "content": _complaint(result.broken)}] if result.broken else []
    return [answer, *results, *complaints]


def _complaint(broken: Sequence[CallBroken]) -> str:
    said = [f"Your call to {one.name} could not be read: {one.reason}." for one in broken]
    return "\n".join([*said, "Write it again, or answer without it."])
