"""The loop over answers that a script gives, and tools that behave and misbehave."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bezel.backends.interface import Result, Usage
from bezel.errors import InvalidRequestError, ToolError
from bezel.text.calls import Call, CallBroken
from bezel.tools import ToolRun, Transcript, run_tools
from bezel.tools.running import RESULT_LIMIT, as_text

USAGE = Usage(1, 1, 0.0, 0.0)


def answer(text: str = "", *calls: Call, broken: Sequence[CallBroken] = ()) -> Result:
    return Result(text, "stop", USAGE, calls=calls, broken=tuple(broken))


class Script:
    """Answers in order, and what was asked for each."""

    def __init__(self, *answers: Result) -> None:
        self._answers = list(answers)
        self.asked: list[list[Mapping[str, Any]]] = []
        self.offered: list[Sequence[Mapping[str, Any]]] = []

    def __call__(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Result:
        self.asked.append(list(messages))
        self.offered.append(tools)
        return self._answers.pop(0)


def double(x: int) -> int:
    """Doubles."""
    return 2 * x


def fail() -> None:
    raise KeyError("gone")


async def later(x: int) -> str:
    await asyncio.sleep(0.01)
    return f"late {x}"


ASKED = [{"role": "user", "content": "Go."}]


def run(script: Script, tools: Sequence[Callable[..., Any]], **limits: Any) -> Transcript:
    return run_tools(script, ASKED, tools, **limits)


def test_calls_are_executed_and_fed_back_until_words_come() -> None:
    script = Script(answer("Wait.", Call("double", {"x": 4}), Call("later", {"x": 1})), answer("8, and late 1."))
    told: list[ToolRun] = []
    done = run(script, [double, later], listen=told.append)
    assert done.finished and done.text == "8, and late 1." and len(done.rounds) == 2
    assert [(run.call.name, run.content, run.trouble) for run in done.runs] == [
        ("double", "8", None),
        ("later", "late 1", None),
    ]
    assert told == list(done.runs) and all(0 <= run.seconds < 5 for run in told)
    question, said, first, second = script.asked[1]
    assert said["content"] == "Wait." and [call["id"] for call in said["tool_calls"]] == ["call_0", "call_1"]
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"x": 4}
    assert first == {"role": "tool", "tool_call_id": "call_0", "name": "double", "content": "8"}
    assert second["tool_call_id"] == "call_1" and question == ASKED[0]
    assert done.messages[-1] == {"role": "assistant", "content": "8, and late 1."}
    assert [tool["function"]["name"] for tool in script.offered[0]] == ["double", "later"]
    more = run_tools(Script(answer("", Call("double", {"x": 1})), answer("2")), done.messages, [double])
    assert more.runs[0].id == "call_2"


def test_whatever_goes_wrong_becomes_a_result() -> None:
    def picky(day: datetime.date) -> str:
        return str(day)

    calls = [
        Call("nobody", {}),
        Call("double", {"y": 1}),
        Call("double", {"x": "4"}),
        Call("fail", {}),
        Call("picky", {"day": "2025-02-30"}),
    ]
    done = run(Script(answer("", *calls), answer("Sorry.")), [double, fail, picky])
    said = [(run.trouble, json.loads(run.content)["error"]) for run in done.runs]
    assert said == [
        ("unknown", "there is no tool 'nobody'; tools: double, fail, picky"),
        ("arguments", "x is missing; there is no y; known: x"),
        ("arguments", 'x must be a whole number, not "4"'),
        ("exception", "KeyError: 'gone'"),
        ("exception", "ValueError: day is out of range for month"),
    ]


def leave(how: str) -> str:
    if how == "exit":
        sys.exit("bye")
    raise {"interrupt": KeyboardInterrupt, "words": Wordless}[how]


async def leave_later() -> str:
    sys.exit("later")


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_tool_that_leaves_the_process_ends_its_call_alone() -> None:
    calls = [*(Call("leave", {"how": how}) for how in ("exit", "interrupt", "words")), Call("leave_later", {})]
    began = time.monotonic()
    done = run(Script(answer("", *calls), answer("Sorry.")), [leave, leave_later])
    assert time.monotonic() - began < 10 and [run.trouble for run in done.runs] == ["exception"] * 4
    said = [json.loads(run.content)["error"] for run in done.runs]
    assert said == ["SystemExit: bye", "KeyboardInterrupt: ", "Wordless", "SystemExit: later"]


def test_calls_run_side_by_side_unless_told_otherwise() -> None:
    together = threading.Barrier(2)

    def meet(x: int) -> str:
        try:
            together.wait(2 if x < 10 else 0.2)
        except threading.BrokenBarrierError:
            return "alone"
        return "met"

    script = Script(answer("", Call("meet", {"x": 1}), Call("meet", {"x": 2})), answer("."))
    assert [run.content for run in run(script, [meet]).runs] == ["met", "met"]
    script = Script(answer("", Call("meet", {"x": 10}), Call("meet", {"x": 10})), answer("."))
    assert [run.content for run in run(script, [meet], parallel=False).runs] == ["alone", "alone"]


def test_many_calls_keep_their_order() -> None:
    calls = [Call("double", {"x": x}) for x in range(30)]
    done = run(Script(answer("", *calls), answer(".")), [double])
    assert [run.content for run in done.runs] == [str(2 * x) for x in range(30)]


def test_a_call_that_takes_too_long_is_left_behind() -> None:
    over = threading.Event()

    def hang() -> str:
        over.wait(10)
        return "late"

    began = time.monotonic()
    done = run(Script(answer("", Call("hang", {}), Call("double", {"x": 1})), answer(".")), [hang, double], timeout=0.3)
    over.set()
    assert time.monotonic() - began < 5
    assert [run.trouble for run in done.runs] == ["timeout", None]
    assert "longer than 0.3 seconds" in done.runs[0].content and done.runs[0].seconds == 0.3


def test_rounds_end() -> None:
    again = [answer("", Call("double", {"x": 1})) for _ in range(5)]
    done = run(Script(*again), [double], max_rounds=3)
    assert not done.finished and len(done.rounds) == 3 and len(done.runs) == 3
    assert done.messages[-1]["role"] == "tool"


def test_a_call_that_cannot_be_read_is_told_to_the_model() -> None:
    broken = CallBroken(1, "double", '{"name":"double","parameters":{"x":', "a value is missing")
    script = Script(answer("", Call("double", {"x": 3}), broken=[broken]), answer("6"))
    done = run(script, [double])
    said, result, complaint = script.asked[1][1:]
    assert broken.source in said["content"] and result["content"] == "6"
    assert complaint["role"] == "user" and "double could not be read: a value is missing" in complaint["content"]
    assert done.finished
    script = Script(answer("", broken=[broken]), answer("No."))
    assert [m["role"] for m in run(script, [double]).messages] == ["user", "assistant", "user", "assistant"]


@dataclass
class Weather:
    sky: str
    when: datetime.date


def test_results_are_told_as_text_or_json() -> None:
    assert as_text("as it is") == "as it is" and as_text(None) == "null" and as_text({"é": (1, 2)}) == '{"é": [1, 2]}'
    assert as_text(Weather("blue", datetime.date(2025, 7, 8))) == '{"sky": "blue", "when": "2025-07-08"}'
    assert as_text({"x": {3}, "y": object}).startswith('{"x": [3], "y": "<class')
    assert as_text("x" * (RESULT_LIMIT + 7)).endswith("x\n[7 more characters were left out]")


def test_results_can_be_sent_whatever_is_in_them() -> None:
    assert as_text("a\ud800b") == as_text("a\udc00b") == "a\ufffdb" and as_text(["\ud83d\ude00"]) == '["\U0001f600"]'
    found = as_text({"x": [float("nan"), float("-inf"), 1.5], "y": "NaN"})
    assert json.loads(found, parse_constant=pytest.fail) == {"x": ["NaN", "-Infinity", 1.5], "y": "NaN"}

    def broken() -> str:
        raise ValueError("\ud800")

    done = run(Script(answer("", Call("broken", {})), answer(".")), [broken])
    assert json.loads(done.runs[0].content) == {"error": "ValueError: \ufffd"}


def test_limits_that_allow_nothing_and_names_that_clash_are_refused() -> None:
    wrong: list[dict[str, Any]] = [{"max_rounds": 0}, {"max_rounds": "2"}, {"timeout": 0}, {"timeout": "1"}]
    wrong += [{"timeout": value} for value in (float("inf"), float("nan"), True)]
    for limits in wrong:
        with pytest.raises(InvalidRequestError, match=next(iter(limits))):
            run(Script(), [double], **limits)
    for long in (1e300, 10**400):
        done = run(Script(answer("", Call("double", {"x": 1})), answer("2")), [double], timeout=long)
        assert done.runs[0].content == "2"
    with pytest.raises(ToolError, match="two tools are called 'double'"):
        run(Script(), [double, double])
