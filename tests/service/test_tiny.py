"""A real model behind the server: the embedded one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import bezel
from bezel.backends.native import NativeBackend
from bezel.testing import instruction_sets
from tests.service.live import Live, events, wait_until

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Alan"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("tiny"), backends={"tiny": NativeBackend.load("tiny", threads=1)})
    yield found
    found.stop()


def test_a_chat_is_the_python_apis(tiny: Live) -> None:
    expected = bezel.load("tiny", threads=1).chat(QUESTION, temperature=0, seed=1)
    answer = tiny.openai.chat.completions.create(model="tiny", messages=QUESTION, temperature=0, seed=1)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == expected.text and "42" in expected.text
    assert answer.usage is not None and answer.usage.prompt_tokens == expected.usage.prompt_tokens
    chunks = tiny.openai.chat.completions.create(model="tiny", messages=QUESTION, temperature=0, stream=True)  # type: ignore[arg-type]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected.text


def test_what_was_read_before_is_counted(tiny: Live) -> None:
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "one two three " * 40}], "max_tokens": 2}
    first, second = (tiny.client.post("/v1/chat/completions", json=chat).json()["usage"] for _ in range(2))
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert 0 < second["prompt_tokens_details"]["cached_tokens"] < second["prompt_tokens"]


def test_a_call(tiny: Live) -> None:
    chat = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
        "tools": [WEATHER],
    }
    choice = tiny.client.post("/v1/chat/completions", json=chat).json()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
    assert choice["finish_reason"] == "tool_calls"
    parts = [
        part
        for chunk in events(tiny.client.post("/v1/chat/completions", json=chat | {"stream": True}))
        for part in chunk["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert json.loads("".join(part["function"]["arguments"] for part in parts)) == {"city": "Oslo"}
    forced = chat | {"messages": QUESTION, "tool_choice": "required"}
    assert tiny.client.post("/v1/chat/completions", json=forced).json()["choices"][0]["message"]["tool_calls"]
    nothing = chat | {"tools": [], "tool_choice": "required"}
    assert tiny.client.post("/v1/chat/completions", json=nothing).status_code == 400


def test_an_answer_of_a_schema(tiny: Live) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    chat = {"model": "tiny", "messages": QUESTION, "response_format": form, "max_tokens": 100}
    answer = tiny.client.post("/v1/chat/completions", json=chat).json()["choices"][0]
    person = json.loads(answer["message"]["content"])
    assert person["name"] in ("Ada", "Alan") and 0 <= person["age"] <= 99
    broken = form | {
        "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"type": "colour"}}}}
    }
    refused = tiny.client.post("/v1/chat/completions", json=chat | {"response_format": broken})
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "invalid_constraint"


def test_what_the_model_cannot_do_is_refused(tiny: Live) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    refused = tiny.client.post(
        "/v1/chat/completions", json={"model": "tiny", "messages": [{"role": "user", "content": [image]}]}
    )
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "unsupported_input"
    long = {"model": "tiny", "messages": [{"role": "user", "content": "word " * 20_000}], "stream": True}
    refused = tiny.client.post("/v1/chat/completions", json=long)
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "context_length_exceeded"
    biased = {"model": "tiny", "messages": QUESTION, "logit_bias": {"999999": 1}}
    assert tiny.client.post("/v1/chat/completions", json=biased).status_code == 400


def test_completions_and_tokens(tiny: Live) -> None:
    found = tiny.client.post("/tokenize", json={"model": "tiny", "prompt": "Hello there"}).json()
    assert found["count"] == len(found["tokens"]) > 1
    text = tiny.client.post("/detokenize", json={"model": "tiny", "tokens": found["tokens"]}).json()["prompt"]
    assert text == "<bos>Hello there"
    body = {"model": "tiny", "prompt": found["tokens"], "max_tokens": 4, "logprobs": 2, "temperature": 0}
    choice = tiny.client.post("/v1/completions", json=body).json()["choices"][0]
    assert len(choice["logprobs"]["tokens"]) <= 4 and all(len(top) <= 2 for top in choice["logprobs"]["top_logprobs"])
    assert tiny.client.post("/detokenize", json={"model": "tiny", "tokens": [10**6]}).status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_frees_the_engine(tiny: Live, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = next(iter(tiny.server.models.values())).backend
    assert isinstance(backend, NativeBackend)
    engine, steps = backend._driver.engine, [0]
    step = engine.step

    def slow() -> Any:
        steps[0] += 1
        time.sleep(0.05)
        return step()

    monkeypatch.setattr(engine, "step", slow)
    body = {"model": "tiny", "prompt": "word " * 20, "max_tokens": 400, "stream": stream, "logit_bias": {"1": -100}}
    if stream:
        with tiny.client.stream("POST", "/v1/completions", json=body) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            tiny.client.post("/v1/completions", json=body, timeout=httpx.Timeout(30, read=0.3))
    wait_until(lambda: backend.statistics().running == 0 and tiny.lanes().running == 0)
    assert 0 < steps[0] < 200, "it would go on for 400 steps"


def test_it_is_asked_whether_it_lives_among_other_requests(tiny: Live) -> None:
    backend = tiny.server.models["tiny"].backend
    assert isinstance(backend, NativeBackend)
    before = backend.statistics().tokens
    found = tiny.client.get("/health/deep").json()
    assert (found["status"], found["reasons"]) == ("healthy", []) and 0 < found["seconds"] < 60
    assert backend.statistics().tokens == before + 1, "the engine is asked, not the model behind its back"
