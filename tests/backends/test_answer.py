"""From tokens to events: text, calls, stop strings and where an answer ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bezel.backends.answer import Answer
from bezel.backends.choice import check_choice
from bezel.backends.interface import Delta, Event, Finish, Request
from bezel.engine.request import Progress
from bezel.engine.request import Request as EngineRequest
from bezel.errors import ToolChoiceError
from bezel.generation.loop import Step
from bezel.generation.sampling import Sampling
from bezel.testing import byte_tokenizer
from bezel.text.calls import Call, CallDelta, CallFinished, CallStarted
from bezel.text.dialects.forms import FUNCTION_GEMMA, PROMPTED
from bezel.text.tools import NamedTool

TOKENIZER = byte_tokenizer(*FUNCTION_GEMMA.pieces.call, FUNCTION_GEMMA.pieces.quote)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}}}}}
CALL = '{"name":"f","parameters":{"a":1}}'


def events_of(answer: Answer, ids: Sequence[int]) -> list[Event]:
    """The events of an answer whose tokens come one a step; its engine's request ends with the last."""
    request = EngineRequest([2], Sampling())
    events: list[Event] = []
    for place, token in enumerate(ids):
        reason: Any = "length" if place == len(ids) - 1 else None
        events += answer.take(Progress(request, (Step(token, -0.5),), float(place), reason))
        if answer.ended:
            break
    return events


def answered(text: str, dialect: Any = PROMPTED, stop: Sequence[str] = (), one_call: bool = False) -> list[Event]:
    ids = TOKENIZER.encode_scaffold(text)
    return events_of(Answer(TOKENIZER, stop, dialect.reader([TOOL]) if dialect else None, one_call), ids)


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def calls_of(events: Sequence[Event]) -> list[Call]:
    return [event.call for event in events if isinstance(event, CallFinished)]


def test_without_tools_an_answer_is_text() -> None:
    assert text_of(answered(CALL, None)) == CALL and not calls_of(answered(CALL, None))


def test_calls_come_between_text_and_every_token_is_told() -> None:
    text = f"Well.\n{CALL}\nDone."
    events = answered(text)
    assert text_of(events) == "Well.\nDone." and calls_of(events) == [Call("f", {"a": 1})]
    kinds = [type(event) for event in events if not isinstance(event, Delta) or event.text]
    assert kinds.index(CallStarted) > kinds.index(Delta) and kinds[-1] is Finish
    assert sum(len(event.tokens) for event in events if isinstance(event, Delta)) == len(text)
    assert "".join(event.arguments for event in events if isinstance(event, CallDelta)) == '{"a":1}'


def test_control_pieces_are_structure_and_their_spelling_is_not() -> None:
    call = "<start_function_call>call:f{a:<escape>%s<escape>}<end_function_call>"
    events = answered("Hé" + call % "x}" + call % "y", FUNCTION_GEMMA)
    assert text_of(events) == "Hé" and calls_of(events) == [Call("f", {"a": "x}"}), Call("f", {"a": "y"})]
    ids = TOKENIZER.encode(call % "x")
    events = events_of(Answer(TOKENIZER, (), FUNCTION_GEMMA.reader([TOOL])), ids)
    assert text_of(events) == call % "x" and not calls_of(events)


def test_a_control_piece_ends_a_half_character_and_a_half_stop_string() -> None:
    ids = [*TOKENIZER.encode("é")[:1], *TOKENIZER.encode_scaffold("<start_function_call>call:f{}<end_function_call>")]
    events = events_of(Answer(TOKENIZER, (), FUNCTION_GEMMA.reader([TOOL])), ids)
    assert text_of(events) == "\ufffd" and calls_of(events) == [Call("f", {})]
    events = answered("ab<start_function_call>call:f{}<end_function_call>", FUNCTION_GEMMA, stop=["abc"])
    assert text_of(events) == "ab" and calls_of(events) == [Call("f", {})]


def test_one_call_ends_the_answer() -> None:
    events = answered(f"Well.\n{CALL}\n{CALL}\nDone.", one_call=True)
    assert text_of(events) == "Well." and len(calls_of(events)) == 1
    finish = events[-1]
    assert isinstance(finish, Finish) and finish.reason == "stop"
    assert finish.usage.completion_tokens == len(f"Well.\n{CALL}")


def test_a_stop_string_ends_the_answer_before_a_call() -> None:
    events = answered(f"Well. STOP\n{CALL}", stop=["STOP"])
    assert text_of(events) == "Well. " and not calls_of(events)


def test_text_that_looked_like_a_call_is_not_lost_at_the_end() -> None:
    assert text_of(answered('{"name": "f", "para')) == '{"name": "f", "para'


@pytest.mark.parametrize(
    ("choice", "tools", "said"),
    [
        (NamedTool("g"), [TOOL], "'g', which is no tool of this request; tools: f"),
        ("required", [], "no tools are offered"),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused(choice: Any, tools: Any, said: str) -> None:
    with pytest.raises(ToolChoiceError, match=said):
        check_choice(Request(tools=tools, tool_choice=choice))


def test_other_choices_pass() -> None:
    for choice in ("none", "auto", "required", NamedTool("f")):
        check_choice(Request(tools=[TOOL], tool_choice=choice))
    assert Request(tools=[TOOL], tool_choice="none").offered == ()
