"""Ollama's addresses."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bezel.service.requests.ollama import ChatRequest, GenerateRequest, Options
from bezel.testing import CounterBackend
from tests.service.live import MESSAGES, TOOLS, Live
from tests.service.test_numbers import HOSTILE, RAW

CHAT: dict[str, Any] = {"model": "counter", "messages": MESSAGES}
TEXT: dict[str, Any] = {"model": "counter", "prompt": "one two"}


def lines(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_chat_comes_in_lines(live: Live) -> None:
    *pieces, last = lines(live.client.post("/api/chat", json={**CHAT, "model": "counter:latest"}))
    assert [each["message"]["content"] for each in pieces] == ["1", " 2", " 3", " 4", " 5"]
    assert not any(each["done"] for each in pieces) and last["done"] and last["done_reason"] == "stop"
    assert (last["prompt_eval_count"], last["eval_count"]) == (3, 5) and last["total_duration"] > 0
    assert last["message"] == {"role": "assistant", "content": ""} and last["created_at"].endswith("Z")


def test_a_chat_at_once_with_options(live: Live) -> None:
    options = {"num_predict": 2, "temperature": 0.5, "repeat_penalty": 1.5, "seed": 7, "stop": ["x"], "num_ctx": 4096}
    body = {**CHAT, "stream": False, "options": options, "format": {"type": "object"}, "keep_alive": "5m"}
    found = live.client.post("/api/chat", json=body).json()
    assert found["message"]["content"] == "1 2" and found["done_reason"] == "length"
    asked: Any = live.counter.asked
    assert (asked.sampling.temperature, asked.sampling.repetition_penalty, asked.sampling.seed) == (0.5, 1.5, 7)
    assert asked.stop == ("x",) and asked.max_tokens == 2 and asked.constraint is not None
    live.client.post("/api/chat", json={**CHAT, "options": {"num_predict": -1}})
    unlimited: Any = live.counter.asked
    assert unlimited.max_tokens is None


def test_calls_and_their_answers(live: Live) -> None:
    found = live.client.post("/api/chat", json={**CHAT, "tools": TOOLS, "stream": False}).json()["message"]
    names = [each["function"]["name"] for each in found["tool_calls"]]
    assert names == ["count_up", "count_down"] and found["tool_calls"][0]["function"]["arguments"] == {"count": 1}
    answers = [{"role": "tool", "content": name, "tool_name": name} for name in reversed(names)]
    more = {**CHAT, "messages": [*MESSAGES, found, *answers], "tools": TOOLS, "stream": False}
    assert live.client.post("/api/chat", json=more).json()["message"]["content"] == "1 2 3 4 5"
    asked: Any = live.counter.asked
    ids = {call["function"]["name"]: call["id"] for call in asked.messages[1]["tool_calls"]}
    assert [message["tool_call_id"] for message in asked.messages[2:]] == [ids["count_down"], ids["count_up"]]
    lost = live.client.post("/api/chat", json={**CHAT, "messages": [*MESSAGES, answers[0]]})
    assert lost.status_code == 400 and "answers no call" in lost.json()["error"]["message"]


def test_texts(live: Live) -> None:
    *pieces, last = lines(live.client.post("/api/generate", json={**TEXT, "system": "Count"}))
    assert "".join(each["response"] for each in pieces) == "1 2 3 4 5" and last["prompt_eval_count"] == 3
    asked: Any = live.counter.asked
    assert [message["role"] for message in asked.messages] == ["system", "user"]
    raw = live.client.post("/api/generate", json={**TEXT, "raw": True, "stream": False}).json()
    assert raw["response"] == "1 2 3 4 5"
    asked = live.counter.asked
    assert asked.prompt == "one two"
    assert live.client.post("/api/generate", json={"model": "counter"}).json()["done_reason"] == "load"


def test_images_are_data_urls(live: Live) -> None:
    image = base64.b64encode(b"\x89PNG").decode()
    live.client.post("/api/generate", json={**TEXT, "images": [image]})
    asked: Any = live.counter.asked
    assert asked.messages[0]["content"][0]["image_url"]["url"] == f"data:image/png;base64,{image}"
    for bad in ("http://127.0.0.1/a.png", "/etc/passwd", "!"):
        for path, body in (("chat", {**CHAT, "messages": [{"role": "user", "images": [bad]}]}), ("generate", TEXT)):
            response = live.client.post(f"/api/{path}", json={**body, **({"images": [bad]} if body is TEXT else {})})
            assert response.status_code == 400 and response.json()["error"]["code"] == "invalid_media"


def test_models(live: Live) -> None:
    (model,) = live.client.get("/api/tags").json()["models"]
    assert model["name"] == model["model"] == "counter" and len(model["digest"]) == 64
    shown = live.client.post("/api/show", json={"model": "counter"}).json()
    assert shown["model_info"]["gemma.context_length"] == 4096 and "completion" in shown["capabilities"]
    assert live.client.post("/api/show", json={"model": "none"}).status_code == 404
    assert live.client.get("/api/version").json() == live.client.get("/version").json()


def test_keys_and_budgets_hold_here_too(start: Callable[..., Live]) -> None:
    live = start(token_limit=20)
    assert live.client.post("/api/chat", json=CHAT, headers=live.key("models")).status_code == 403
    assert live.client.get("/api/tags", headers=live.key("generate")).status_code == 403
    refused = live.client.post("/api/chat", json=CHAT)
    assert refused.status_code == 429
    assert live.client.post("/api/chat", json={**CHAT, "options": {"num_predict": 5}}).status_code == 200


def test_an_error_in_a_stream_is_its_last_line(start: Callable[..., Live]) -> None:
    live = start(backends={"counter": CounterBackend(failure=RuntimeError("secret"), fails_at=3)})
    *pieces, last = lines(live.client.post("/api/chat", json=CHAT))
    assert len(pieces) == 2 and last["error"]["code"] == "internal_error" and "secret" not in json.dumps(last)


PLACES: list[tuple[str, Any]] = [
    *(("/api/chat", lambda bad, name=name: {**CHAT, name: bad}) for name in (*ChatRequest.model_fields, "other")),
    *(
        ("/api/generate", lambda bad, name=name: {**TEXT, name: bad})
        for name in (*GenerateRequest.model_fields, "other")
    ),
    *(
        ("/api/chat", lambda bad, name=name: {**CHAT, "options": {name: bad}})
        for name in (*Options.model_fields, "mirostat")
    ),
    ("/api/chat", lambda bad: {**CHAT, "messages": [bad]}),
    ("/api/chat", lambda bad: {**CHAT, "messages": [{"role": "user", "content": bad}]}),
    ("/api/chat", lambda bad: {**CHAT, "messages": [*MESSAGES, {"role": "assistant", "tool_calls": [bad]}]}),
    (
        "/api/chat",
        lambda bad: {
            **CHAT,
            "messages": [
                *MESSAGES,
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": bad}}}]},
            ],
        },
    ),
    ("/api/show", lambda bad: {"model": bad}),
]


@pytest.mark.parametrize("place", range(len(PLACES)))
def test_hostile_values(live: Live, place: int) -> None:
    path, shape = PLACES[place]
    for text in [json.dumps(value) for value in HOSTILE] + RAW:
        body = json.dumps(shape("@@")).replace('"@@"', text)
        response = live.client.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code in (200, 400, 404), (text[:80], response.text[:300])
