"""What differs from OpenAI: each parameter that is refused is refused by its name, each hint changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from bench.openai_suite.differences import PARAMETERS
from bezel.testing import CounterBackend
from tests.service.engines import CountingHearer
from tests.service.live import MESSAGES, Live
from tests.service.test_audio import wav
from tests.service.test_batches import line, lines_of, run

TOOL = {"type": "function", "name": "count_up"}
BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": {"model": "counter", "messages": MESSAGES},
    "/completions": {"model": "counter", "prompt": "a", "echo": True},
    "/responses": {"model": "counter", "input": "a", "tools": [TOOL], "tool_choice": "none"},
    "/responses/input_tokens": {"model": "counter", "input": "a b", "tools": [TOOL]},
    "/batches": {"input_file_id": "a", "endpoint": "/v1/completions", "completion_window": "24h"},
    "/files": {"purpose": "batch"},
    "/audio/transcriptions": {"model": "hearer"},
    "/audio/translations": {"model": "hearer"},
}
FORMS = ("/files", "/audio/transcriptions", "/audio/translations")
REFUSED = [(path, name) for path, parameters in PARAMETERS.items() for name in parameters]
HINTS: dict[str, list[dict[str, Any]]] = {
    "/chat/completions": [
        {"prediction": {"type": "content", "content": "1 2 3"}},
        {"prediction": {"type": "content", "content": [{"type": "text", "text": "1"}]}},
        {"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}},
        {"prompt_cache_retention": "24h"},
        {"reasoning_effort": "none"},
        {"service_tier": "auto"},
        {"verbosity": "medium"},
    ],
    "/responses": [
        {"include": ["reasoning.encrypted_content", "file_search_call.results"]},
        {"max_tool_calls": 0},
        {"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}},
        {"prompt_cache_retention": "in_memory"},
        {"reasoning": {"effort": "minimal", "summary": "auto"}},
        {"text": {"format": {"type": "text"}, "verbosity": "medium"}},
        {"top_logprobs": 0},
        {"truncation": "auto"},
    ],
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("both")
    backends: Any = {"counter": CounterBackend(context=50), "hearer": CountingHearer()}
    found = Live(folder, backends=backends, batch_folder=str(folder / "batches"), rate_limit=0)
    yield found
    found.stop()


def post(live: Live, path: str, body: dict[str, Any]) -> Any:
    if path in FORMS:
        return live.client.post(f"/v1{path}", data=body, files={"file": ("a", wav(0.1))})
    return live.client.post(f"/v1{path}", json=body)


def put(body: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", path)]
    for parent in parents:
        body = body.setdefault(parent, {}) if isinstance(body, dict) else body[parent]
    body[last] = value


@pytest.mark.parametrize(("path", "name"), REFUSED)
def test_what_would_change_an_answer_is_refused_by_its_name(both: Live, path: str, name: str) -> None:
    value, reason = PARAMETERS[path][name]
    body = json.loads(json.dumps(BODIES[path]))
    if path in FORMS:
        body[name] = value
    else:
        put(body, name, value)
    response = post(both, path, body)
    error = response.json()["error"]
    assert response.status_code == 400 and reason, response.text
    assert error["code"] in ("unknown_parameter", "VALIDATION_ERROR") and error["type"] == "invalid_request_error"
    told = f"{error['param']} {error['message']}"
    assert name.partition(".")[0].partition("[")[0] in told, error


@pytest.mark.parametrize("path", HINTS)
def test_what_changes_no_answer_is_taken(both: Live, path: str) -> None:
    def answer(**hint: Any) -> Any:
        found = post(both, path, {**BODIES[path], **hint})
        assert found.status_code == 200, (hint, found.text)
        told = found.json()
        return told["choices"] if "choices" in told else [each["content"] for each in told["output"]]

    plain = answer()
    for hint in HINTS[path]:
        assert answer(**hint) == plain, hint


@pytest.mark.parametrize(
    ("path", "hint", "param"),
    [
        ("/chat/completions", {"reasoning_effort": "high"}, "reasoning_effort"),
        ("/chat/completions", {"prediction": {"type": "content", "content": 1}}, "prediction.content"),
        ("/responses", {"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ("/responses", {"top_logprobs": 3}, "top_logprobs"),
        ("/responses", {"truncation": "middle"}, "truncation"),
    ],
)
def test_hints_that_ask_for_more_are_refused(both: Live, path: str, hint: dict[str, Any], param: str) -> None:
    response = post(both, path, {**BODIES[path], **hint})
    assert response.status_code == 400 and response.json()["error"]["param"] == param, response.text


def test_what_is_too_long_is_refused_however_it_may_be_cut(both: Live) -> None:
    response = post(both, "/responses", {**BODIES["/responses"], "input": "a " * 60, "truncation": "auto"})
    assert response.status_code == 400 and response.json()["error"]["code"] == "context_length_exceeded"


def test_tokens_of_an_input_are_counted_without_an_answer(both: Live) -> None:
    before = both.counter.produced
    counted = both.openai.responses.input_tokens.count(model="counter", input="one two three")
    assert counted.input_tokens == 3 and both.counter.produced == before
    answered = both.openai.responses.create(model="counter", input="one two three")
    assert answered.usage is not None and answered.usage.input_tokens == 3
    assert both.client.post("/v1/responses/input_tokens", json={}, headers=both.key("generate")).status_code == 403


def test_lines_of_a_batch_may_be_responses(both: Live) -> None:
    batch = run(both, line(1, {"model": "counter", "input": "a"}, "/v1/responses"), "/v1/responses")
    (found,) = lines_of(both, batch.output_file_id)
    assert found["response"]["body"]["output"][0]["content"][0]["text"] == "1 2 3 4 5"


def test_long_recordings_are_cut_by_the_server_anyway(both: Live) -> None:
    assert post(both, "/audio/transcriptions", {"model": "hearer", "chunking_strategy": "auto"}).status_code == 200
    refused = post(both, "/audio/transcriptions", {"model": "hearer", "chunking_strategy": "server_vad"})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "chunking_strategy"
