"""Calls through the engine and the Python API, with the embedded model."""

from __future__ import annotations

import time

import pytest

import bezel
from bezel.backends.interface import Delta, Finish
from bezel.errors import InvalidRequestError, ToolChoiceError
from bezel.text.calls import Call, CallDelta, CallFinished, CallStarted
from bezel.tools import tool


def get_weather(city: str) -> str:
    """Weather in a city."""
    return f"sunny in {city}"


SCHEMA = tool(get_weather).schema
QUESTION = "What is the weather in Oslo?"
OSLO = Call("get_weather", {"city": "Oslo"})


@pytest.fixture(scope="module")
def tiny() -> bezel.Model:
    return bezel.load("tiny")


def test_calls_are_streamed_whole_and_in_batches(tiny: bezel.Model) -> None:
    request = tiny.request(QUESTION, tools=[SCHEMA], temperature=0)
    events = list(tiny.events(request))
    kinds = [type(event) for event in events if not isinstance(event, Delta) or event.text]
    assert kinds[0] is CallStarted and kinds[-2:] == [CallFinished, Finish]
    assert "".join(event.arguments for event in events if isinstance(event, CallDelta)) == '{"city":"Oslo"}'
    alone = tiny.chat(QUESTION, tools=[SCHEMA], temperature=0)
    assert alone.calls == (OSLO,) and alone.text == "" and alone.broken == ()
    together = tiny.chat_batch([QUESTION] * 3, tools=[SCHEMA], temperature=0)
    assert [result.calls for result in together] == [(OSLO,)] * 3


def test_without_tools_or_with_none_chosen_nothing_is_a_call(tiny: bezel.Model) -> None:
    asked = tiny.request(QUESTION, tools=[SCHEMA], tool_choice="none")
    assert tiny._backend.prompt_ids(asked) == tiny.prompt_ids(QUESTION)
    assert tiny.chat(QUESTION, tools=[SCHEMA], tool_choice="none", temperature=0, max_tokens=20).calls == ()


def test_what_cannot_be_enforced_is_refused_and_not_ignored(tiny: bezel.Model) -> None:
    with pytest.raises(ToolChoiceError, match="force"):
        tiny.chat(QUESTION, tools=[SCHEMA], tool_choice="required")
    with pytest.raises(ToolChoiceError, match="no tool of this request"):
        tiny.chat_batch([QUESTION], tools=[SCHEMA], tool_choice={"function": {"name": "x"}})
    with pytest.raises(InvalidRequestError, match="tool_choice"):
        tiny.chat(QUESTION, tools=[SCHEMA], tool_choice={"x": 1})


def test_one_call_ends_the_answer_and_its_request(tiny: bezel.Model) -> None:
    def schedule_meeting(title: str, date: str) -> str:
        """Schedule a meeting."""
        return "done"

    question = "What is the weather in Tokyo, and schedule a meeting titled review for tomorrow."
    schemas = [SCHEMA, tool(schedule_meeting).schema]
    both = tiny.chat(question, tools=schemas, temperature=0)
    one = tiny.chat(question, tools=schemas, temperature=0, parallel_tool_calls=False)
    assert len(both.calls) == 2 and one.calls == both.calls[:1]
    assert one.usage.completion_tokens < both.usage.completion_tokens
    ends = time.monotonic() + 20
    while tiny.statistics().running and time.monotonic() < ends:  # the step under way is the request's last
        time.sleep(0.05)
    assert tiny.statistics().running == 0


def test_the_loop_runs_functions_and_tells_of_everything(tiny: bezel.Model) -> None:
    told: list[object] = []
    done = tiny.run_tools(QUESTION, [get_weather], max_rounds=1, temperature=0, listen=told.append)
    assert [(run.call, run.content) for run in done.runs] == [(OSLO, "sunny in Oslo")]
    assert isinstance(told[-1], type(done.runs[0])) and any(isinstance(event, Finish) for event in told)
