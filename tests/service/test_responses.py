"""Responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from bezel.service.requests.responses import ResponseRequest
from bezel.testing import CounterBackend
from tests.service.live import Live
from tests.service.test_numbers import HOSTILE, RAW

BODY: dict[str, Any] = {"model": "counter", "input": "one two"}
TOOL: Any = {"type": "function", "name": "count_up", "parameters": {"type": "object", "properties": {"count": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def post(live: Live, **fields: Any) -> httpx.Response:
    return live.client.post("/v1/responses", json={**BODY, **fields})


def asked(live: Live) -> Any:
    return live.counter.asked


def test_a_text(live: Live) -> None:
    found = live.openai.responses.create(
        model="counter", input="one two", instructions="Count", store=False, temperature=0.5, metadata={"a": "b"}
    )
    assert (found.output_text, found.status, found.object) == ("1 2 3 4 5", "completed", "response")
    assert found.usage is not None and (found.usage.input_tokens, found.usage.output_tokens) == (3, 5)
    assert found.usage.input_tokens_details.cached_tokens == 1 and found.metadata == {"a": "b"}
    assert found.output[0].type == "message" and found.output[0].status == "completed"
    assert asked(live).messages == [{"role": "system", "content": "Count"}, {"role": "user", "content": "one two"}]
    assert asked(live).sampling.temperature == 0.5 and asked(live).sampling.top_p == live.counter.sampling.top_p


def test_what_max_output_tokens_cuts_off_is_incomplete(live: Live) -> None:
    found = live.openai.responses.create(model="counter", input="a", max_output_tokens=2)
    assert found.status == "incomplete" and found.incomplete_details is not None and found.output_text == "1 2"
    assert found.incomplete_details.reason == "max_output_tokens" and found.output[0].status == "incomplete"  # type: ignore[union-attr]


def test_items_become_messages(live: Live) -> None:
    items: Any = [
        {"role": "developer", "content": "D"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "U\u200b"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "A", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x": 1}', "id": "fc_1"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
    ]  # fmt: skip
    answer = post(live, input=items)
    assert answer.status_code == 200 and "invisible" in answer.headers["x-bezel-input-changes"]
    calls = [
        {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
        for identity, name, arguments in (("c1", "f", '{"x": 1}'), ("c2", "g", "{}"))
    ]
    assert asked(live).messages == [
        {"role": "developer", "content": "D"},
        {"role": "user", "content": [{"type": "text", "text": "U"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A"}], "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
    ]


def test_a_call_and_its_answer(live: Live) -> None:
    client = live.openai.responses
    first = client.create(
        model="counter", input="a", tools=[TOOL], tool_choice={"type": "function", "name": "count_up"}
    )
    (call,) = first.output
    assert call.type == "function_call" and (call.name, call.arguments, call.status) == (
        "count_up",
        '{"count":1}',
        "completed",
    )
    more: Any = [
        {"role": "user", "content": "a"},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "7"},
    ]
    assert client.create(model="counter", input=more, tools=[TOOL]).output_text == "1 2 3 4 5"
    assert asked(live).messages[-1] == {"role": "tool", "tool_call_id": call.call_id, "content": "7"}
    assert asked(live).tools[0]["function"] == {name: TOOL[name] for name in ("name", "parameters")}


def test_a_schema_is_followed(live: Live) -> None:
    form = {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}
    assert post(live, text={"format": form}).json()["text"]["format"]["schema"] == SCHEMA
    assert asked(live).constraint is not None
    assert post(live, text={"format": {"type": "text"}}).status_code == 200 and asked(live).constraint is None


def test_a_stream_grows_into_the_response(live: Live) -> None:
    with live.openai.responses.stream(model="counter", input="a") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"
    ]  # fmt: skip
    assert kinds[4:9] == ["response.output_text.delta"] * 5
    assert kinds[9:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"
    ]  # fmt: skip
    assert final.output_text == "1 2 3 4 5" and final.usage is not None and final.usage.output_tokens == 5


def test_a_stream_of_a_call(live: Live) -> None:
    stream = live.openai.responses.create(model="counter", input="a", tools=[TOOL], stream=True)
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(deltas)) == {"count": 1}
    named = live.client.post("/v1/responses", json={**BODY, "stream": True}).text.split("\n\n")
    assert named[0].startswith("event: response.created\ndata: {") and named[-2] == "data: [DONE]"
    cut = list(live.openai.responses.create(model="counter", input="a", max_output_tokens=1, stream=True))
    assert cut[-1].type == "response.incomplete"


def test_an_error_in_a_stream_is_raised_by_the_client(start: Callable[..., Live]) -> None:
    live = start(backends={"counter": CounterBackend(failure=RuntimeError("secret"), fails_at=3)})
    with pytest.raises(openai.APIError, match="Something went wrong") as caught:
        list(live.openai.responses.create(model="counter", input="a", stream=True))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"store": True}, "store", "not stored"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "whole conversation"),
        ({"conversation": "conv_1"}, "conversation", "not stored"),
        ({"background": True}, "background", "one of"),
        ({"include": ["message.output_text.logprobs"]}, "include[0]", "one of"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "one of"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input[0]", "one of"),
        ({"input": [{"role": "king", "content": "a"}]}, "input[0].role", "one of"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]", "type"),
        ({"input": [{"type": "function_call_output", "call_id": "a"}]}, "input[0].output", "missing"),
        ({"input": []}, "input", "at least 1 items"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema", "missing"),
        ({"max_output_tokens": 0}, "max_output_tokens", "at least 1"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort", "one of"),
        ({"model": "none"}, "model", "not served"),
    ],
)
def test_what_is_refused(live: Live, fields: dict[str, Any], param: str, words: str) -> None:
    response = post(live, **fields)
    error = response.json()["error"]
    assert response.status_code in (400, 404) and error["param"] == param and words in error["message"], error


INSIDE = [
    lambda bad: {"input": [bad]},
    lambda bad: {"input": [{"role": "user", "content": [bad]}]},
    lambda bad: {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": bad}]}]},
    lambda bad: {"input": [{"type": bad}]},
    lambda bad: {"input": [{"type": "function_call", "call_id": bad, "name": bad, "arguments": bad}]},
    lambda bad: {"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": bad}]},
    lambda bad: {"input": [{"type": "function_call_output", "call_id": "a", "output": bad}]},
    lambda bad: {"text": {"format": {"type": "json_schema", "name": "a", "schema": bad}}},
    lambda bad: {"tools": [{**TOOL, "parameters": bad}]},
    lambda bad: {"tool_choice": {"type": "function", "name": bad}},
    *(lambda bad, name=name: {name: bad} for name in (*ResponseRequest.model_fields, "other")),
]


@pytest.mark.parametrize("place", range(len(INSIDE)))
def test_hostile_values(live: Live, place: int) -> None:
    statuses = set()
    for text in [json.dumps(value) for value in HOSTILE] + RAW:
        body = json.dumps({**BODY, **INSIDE[place]("@@")}).replace('"@@"', text)
        response = live.client.post("/v1/responses", content=body, headers={"content-type": "application/json"})
        statuses.add(response.status_code)
        assert response.status_code in (200, 400, 404), (text[:80], response.text[:300])
    assert statuses & {400, 404}
