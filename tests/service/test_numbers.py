"""Hostile values in every field of every body: refused with 400 or answered, and never a failure of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bezel.service.requests.chat import ChatRequest
from bezel.service.requests.completions import CompletionRequest
from bezel.service.requests.tokens import DetokenizeRequest, TokenizeRequest
from tests.service.live import CHAT, MESSAGES, Live

HOSTILE: list[Any] = [
    *(-1, 0, 2**31, 2**63, -(2**63), 2**64, 10**30, 1e308, -1e308, 1e-320, 0.5, True, False, None),
    *(
        "",
        "1",
        "\0",
        "x" * 100_000,
        "\u202e",
        "🏴‍☠️",
        [],
        {},
        [[]],
        [None],
        {"a": {}},
        ["x"] * 5_000,
        {"type": "function"},
    ),
]
RAW = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "1" * 5_000,
    '"\\ud800"',
    '["\\udfff"]',
    '{"\\ud800": "\\ud800"}',
    "[" * 900 + "]" * 900,
]
BODIES = {
    "/v1/chat/completions": (ChatRequest, CHAT),
    "/v1/completions": (CompletionRequest, {"model": "counter", "prompt": "a"}),
    "/tokenize": (TokenizeRequest, {"model": "counter", "prompt": "a"}),
    "/detokenize": (DetokenizeRequest, {"model": "counter", "tokens": [1]}),
}
FIELDS = [(path, name) for path, (kind, _) in BODIES.items() for name in kind.model_fields]


@pytest.mark.parametrize(("path", "name"), FIELDS)
def test_hostile_values(live: Live, path: str, name: str) -> None:
    _, good = BODIES[path]
    texts = [json.dumps(value) for value in HOSTILE] + RAW
    rest = {key: value for key, value in good.items() if key != name}
    head = json.dumps(rest)[:-1] + (", " if rest else "")
    statuses = set()
    for text in texts:
        body = f"{head}{json.dumps(name)}: {text}}}"
        response = live.client.post(path, content=body.encode(), headers={"content-type": "application/json"})
        statuses.add(response.status_code)
        assert response.status_code in (200, 400, 404), (name, text[:80], response.text[:300])
        if response.status_code != 200:
            assert set(response.json()["error"]) == {"message", "type", "param", "code", "request_id"}
    assert statuses & {400, 404}, "nothing was refused"


INSIDE = {
    "messages": [
        lambda bad: [{"role": "user", "content": bad}],
        lambda bad: [{"role": "user", "content": [{"type": "text", "text": bad}]}],
        lambda bad: [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": bad}}]}],
        lambda bad: [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": bad}}]}],
        lambda bad: [
            *MESSAGES,
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": bad}}]},
        ],
        lambda bad: [*MESSAGES, {"role": "tool", "tool_call_id": bad, "content": "a"}],
        lambda bad: [{"role": "user", "content": "a", "name": bad}],
    ],
    "tools": [
        lambda bad: [{"type": "function", "function": {"name": "f", "parameters": {"a": bad}}}],
        lambda bad: [{"type": "function", "function": {"name": "f", "description": bad}}],
        lambda bad: [{"type": "function", "function": {"name": bad}}],
    ],
    "response_format": [
        lambda bad: {"type": "json_schema", "json_schema": {"name": "a", "schema": bad}},
        lambda bad: {"type": "json_schema", "json_schema": {"name": "a", "schema": {"x": bad}}},
    ],
    "stream_options": [lambda bad: {"include_usage": bad}],
    "logit_bias": [lambda bad: {"1": bad}],
    "tool_choice": [lambda bad: {"type": "function", "function": {"name": bad}}],
}


@pytest.mark.parametrize("name", INSIDE)
def test_hostile_values_inside(live: Live, name: str) -> None:
    for shape in INSIDE[name]:
        for text in [json.dumps(value) for value in HOSTILE] + RAW:
            body = json.dumps({**CHAT, name: shape("@@")}).replace('"@@"', text)
            response = live.client.post(
                "/v1/chat/completions", content=body.encode(), headers={"content-type": "application/json"}
            )
            assert response.status_code in (200, 400), (name, text[:80], response.text[:300])


RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "top_k": (0, 2**31 - 1),
    "seed": (-(2**63), 2**63 - 1),
    "n": (1, 8),
    "max_tokens": (1, 10_000_000),
    "max_completion_tokens": (1, 10_000_000),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_end_where_they_are_said_to(live: Live, name: str) -> None:
    low, high = RANGES[name]
    assert [live.chat(**{name: value}).status_code for value in (low, high)] == [200, 200]
    for value in (low - 1, high + 1):
        refused = live.chat(**{name: value})
        assert refused.status_code == 400 and refused.json()["error"]["param"] == name


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"temprature": 1}, "temprature", "not known"),
        ({"messages": []}, "messages", "at least 1 items"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "missing"),
        ({"messages": [{"role": "king", "content": "a"}]}, "messages[0]", "role"),
        ({"messages": [{"role": "user", "content": "a", "x": 1}]}, "messages[0].x", "not known"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "must match"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.name",
            "missing",
        ),
        ({"top_logprobs": 3}, None, "needs logprobs"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, None, "differ"),
        ({"store": True}, "store", "one of"),
    ],
)
def test_the_place_is_named(live: Live, fields: dict[str, Any], param: str | None, words: str) -> None:
    error = live.chat(**fields).json()["error"]
    assert error["param"] == param and words in error["message"]


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ('"x": "' + "y" * 300_000 + '"', "larger than 262,144 bytes"),
        ('"x": ' + "[" * 70 + "]" * 70, "deeper than 64 levels"),
        ('"x": "\\ud800"', "a character that JSON does not have"),
        ('"x": NaN', "a number or a character"),
    ],
)
def test_objects_of_any_content_have_bounds(live: Live, inside: str, words: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": "@@"}}
    body = json.dumps({**CHAT, "tools": [tool]}).replace('"@@"', "{" + inside + "}")
    response = live.client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert (
        response.status_code == 400 and error["param"] == "tools[0].function.parameters" and words in error["message"]
    )
