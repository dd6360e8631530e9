"""Calls through the engine and the Python API, with the embedded model."""

from __future__ import annotations

import time
from typing import Any

import pytest

import bezel
from bezel.backends.interface import Delta, Finish
from bezel.errors import InvalidRequestError, ToolChoiceError
from bezel.text.calls import Call, CallDelta, CallFinished, CallStarted
from bezel.tools import tool


def get_weather(city: str) -> str:
    """Weather in a city."""
    return f"sunny in {city}"


def get_time(city: str) -> str:
    """The time in a city."""
    return f"noon in {city}"


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


def test_calls_that_are_required_are_made_whatever_is_said(tiny: bezel.Model) -> None:
    for temperature in (0.0, 2.0):
        forced = tiny.chat("Hello!", tools=[SCHEMA], tool_choice="required", temperature=temperature, seed=4)
        assert forced.calls and all(
            call.name == "get_weather" and set(call.arguments) == {"city"} for call in forced.calls
        )
    other = tool(get_time).schema
    named = {"type": "function", "function": {"name": "get_time"}}
    chosen = tiny.chat(QUESTION, tools=[SCHEMA, other], tool_choice=named, temperature=0)
    assert [call.name for call in chosen.calls] == ["get_time"]


def test_choices_that_cannot_be_are_refused(tiny: bezel.Model) -> None:
    with pytest.raises(ToolChoiceError, match="no tools are offered"):
        tiny.chat(QUESTION, tool_choice="required")
    with pytest.raises(ToolChoiceError, match="no tool of this request"):
        tiny.chat_batch([QUESTION], tools=[SCHEMA], tool_choice={"function": {"name": "x"}})
    with pytest.raises(InvalidRequestError, match="tool_choice"):
        tiny.chat(QUESTION, tools=[SCHEMA], tool_choice={"x": 1})
    with pytest.raises(InvalidRequestError, match="grammar of its own"):
        tiny.chat(QUESTION, tools=[SCHEMA], tool_choice="required", regex="[a-z]+")


@pytest.mark.parametrize("speculation", ["off", "lookup"])
def test_calls_are_the_same_streamed_in_batches_and_with_drafts(tiny: bezel.Model, speculation: str) -> None:
    schemas = [SCHEMA, tool(get_time).schema]
    questions = [QUESTION, "Weather in Lima please", "What is the time in Rome?"]
    options: dict[str, Any] = {
        "tools": schemas,
        "temperature": 1.5,
        "seed": 3,
        "tool_choice": "required",
        "max_tokens": 60,
    }
    alone = [tiny.chat(question, speculation="off", **options) for question in questions]
    together = tiny.chat_batch(questions, speculation=speculation, **options)
    assert [result.token_ids for result in together] == [result.token_ids for result in alone]
    for question, result in zip(questions, alone, strict=True):
        events = list(tiny.events(tiny.request(question, speculation=speculation, **options)))
        assert tuple(event.call for event in events if isinstance(event, CallFinished)) == result.calls


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


def test_what_only_a_validator_knows_holds_too(tiny: bezel.Model) -> None:
    numbers = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 3}, "uniqueItems": True}
    schema = {
        "type": "object",
        "properties": {"numbers": numbers | {"minItems": 2, "maxItems": 3}},
        "required": ["numbers"],
    }
    wide = {"type": "function", "function": {"name": "draw", "parameters": schema}}
    for seed in range(4):
        request = tiny.request(
            "Draw.", tools=[wide], tool_choice="required", temperature=2.0, seed=seed, max_tokens=300
        )
        events = [event for event in tiny.events(request) if not isinstance(event, Delta) or event.text]
        call = next(event.call for event in events if isinstance(event, CallFinished))
        assert len(set(call.arguments["numbers"])) == len(call.arguments["numbers"]) >= 2
