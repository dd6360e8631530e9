"""Endpoints that speak OpenAI's protocol, against a server of ours that says what a test tells it to."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import bezel
from bezel.backends.endpoints import ENDPOINTS, Endpoint, endpoint
from bezel.backends.interface import Delta, Finish, Request
from bezel.backends.openai import NO_ID, OpenAIBackend
from bezel.backends.outgoing import body_of
from bezel.cli.main import app
from bezel.errors import (
    AccessDeniedError,
    ConstraintError,
    ConstraintFailedError,
    ContentBlockedError,
    ContextLengthError,
    EndpointError,
    InvalidRequestError,
    OverloadedError,
    UnknownModelError,
    UnsupportedInputError,
    UnsupportedMediaError,
)
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.sampling import Sampling
from bezel.text.calls import Call, CallBroken, CallDelta, CallFinished, CallStarted
from bezel.text.tools import NamedTool
from tests.media.samples import wav

pytest.importorskip("openai")
ASK = Request(messages=[{"role": "user", "content": "hello"}])
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
IN_ROME = {"name": "weather", "arguments": {"city": "Rom"}}
PLAIN = Endpoint("plain", "http://127.0.0.1:9")


class Server(ThreadingHTTPServer):
    """Answers every POST with `status` and `lines`, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.lines, self.headers = 200, list[Any](), dict[str, str]()
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self.hung_up = threading.Event()
        self.forever = False


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._reply(json.dumps({"object": "list", "data": []}).encode(), "application/json")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, body, self.headers["authorization"]))
        if self.server.status != 200:
            self._reply(json.dumps(self.server.lines[0]).encode(), "application/json")
            return
        self._reply(b"", "text/event-stream")
        try:
            for line in self.server.lines:
                self._line(line if isinstance(line, str) else json.dumps(line))
            while self.server.forever:
                self._line(json.dumps(chunk(content="more ")))
                time.sleep(0.01)
            self._line("[DONE]")
        except OSError:
            self.server.hung_up.set()

    def _line(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def _reply(self, body: bytes, kind: str) -> None:
        self.send_response(self.server.status)
        self.send_header("content-type", kind)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def chunk(finish: str | None = None, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return chunk() | {"choices": [], "usage": counts | {"prompt_tokens_details": {"cached_tokens": cached}}}


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    found.forever = False
    found.shutdown()
    thread.join()
    found.server_close()


def backend(server: Server, **fields: Any) -> OpenAIBackend:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return OpenAIBackend(Endpoint("test", url, **fields), "gemma", "secret", seconds=10)


def test_an_answer_comes_in_pieces_with_usage_and_log_probabilities(server: Server) -> None:
    found = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "Ho", "logprob": -1.5}]}
    server.lines = [
        chunk(role="assistant", content=""),
        chunk(content="Hi", logprobs={"content": [found]}),
        chunk(content=" there"),
        chunk("length"),
        usage(7, 2, 3),
    ]
    *deltas, finish = backend(server).stream(Request(messages=ASK.messages, logprobs=1))
    assert [delta.text for delta in deltas if isinstance(delta, Delta)] == ["Hi", " there"]
    assert isinstance(deltas[0], Delta) and deltas[0].tokens[0].token_id == NO_ID
    assert deltas[0].tokens[0].top == ((NO_ID, "Ho", -1.5),)
    assert isinstance(finish, Finish) and finish.reason == "length"
    assert (finish.usage.prompt_tokens, finish.usage.completion_tokens, finish.usage.cached_tokens) == (7, 2, 3)
    path, body, key = server.asked[0]
    assert path == "/v1/chat/completions" and key == "Bearer secret"
    assert body == {
        "model": "gemma",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 1.0,
        "top_p": 1.0,
        "logprobs": True,
        "top_logprobs": 1,
    }


def test_calls_come_as_they_are_written_and_broken_ones_are_told_apart(server: Server) -> None:
    def call(index: int, name: str | None, arguments: str) -> dict[str, Any]:
        return {"index": index, "id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}

    server.lines = [
        chunk(tool_calls=[call(0, "weather", "")]),
        chunk(tool_calls=[call(0, None, '{"city":')]),
        chunk(tool_calls=[call(0, None, '"Rome"}'), call(1, "weather", '{"city"')]),
        chunk("tool_calls"),
    ]
    events = list(backend(server).stream(Request(messages=ASK.messages, tools=[WEATHER])))
    assert events[:5] == [
        CallStarted(0, "weather"),
        CallDelta(0, '{"city":'),
        CallDelta(0, '"Rome"}'),
        CallStarted(1, "weather"),
        CallDelta(1, '{"city"'),
    ]
    assert events[5] == CallFinished(0, Call("weather", {"city": "Rome"}))
    assert isinstance(events[6], CallBroken) and events[6].source == '{"city"'
    assert isinstance(events[7], Finish) and events[7].reason == "stop"


def test_a_prompt_goes_to_completions(server: Server) -> None:
    server.lines = [chunk() | {"choices": [{"index": 0, "text": " time", "finish_reason": "stop", "logprobs": None}]}]
    events = list(backend(server).stream(Request(prompt="Once upon a", max_tokens=5, stop=("\n",))))
    assert events[0] == Delta(" time")
    path, body, _ = server.asked[0]
    assert path == "/v1/completions" and body["prompt"] == "Once upon a"
    assert body["max_tokens"] == 5 and body["stop"] == ["\n"]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, None, AccessDeniedError),
        (403, None, AccessDeniedError),
        (404, None, UnknownModelError),
        (400, None, InvalidRequestError),
        (400, "context_length_exceeded", ContextLengthError),
        (500, None, EndpointError),
        (429, None, OverloadedError),
        (503, None, OverloadedError),
    ],
)
def test_refusals_have_names_and_nothing_is_asked_twice(
    server: Server, status: int, code: str | None, expected: type[Exception]
) -> None:
    server.status, server.headers = status, {"retry-after": "7"}
    server.lines = [{"error": {"message": "no, because", "code": code}}]
    with pytest.raises(expected, match="no, because") as caught:
        list(backend(server).stream(ASK))
    assert type(caught.value) is expected and len(server.asked) == 1
    if isinstance(caught.value, OverloadedError):
        assert caught.value.retry_after == 7


def test_an_address_where_nobody_is_says_so() -> None:
    with pytest.raises(EndpointError, match="cannot be reached"):
        list(OpenAIBackend(PLAIN, "gemma").stream(ASK))


def test_an_answer_that_breaks_off_or_is_filtered_is_an_error(server: Server) -> None:
    server.lines = [chunk(content="Hi")]
    with pytest.raises(EndpointError, match="broke off"):
        list(backend(server).stream(ASK))
    server.lines = [chunk("content_filter", content="H")]
    with pytest.raises(ContentBlockedError):
        list(backend(server).stream(ASK))


ODD = [{"choices": 5}, {"choices": [3]}, chunk(tool_calls=[{"function": {"name": "f"}}]), chunk(content=[1])]


@pytest.mark.parametrize("line", ["{nope", "5", "[1]", "null", *ODD])
def test_an_event_that_the_protocol_does_not_have_is_an_error(server: Server, line: Any) -> None:
    server.lines = [chunk(content="Hi"), line, chunk("stop")]
    with pytest.raises(EndpointError, match="sent what its protocol does not have"):
        list(backend(server).stream(ASK))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_closing_hangs_up(server: Server, elsewhere: bool) -> None:
    server.forever = True
    events = backend(server).stream(ASK)
    next(events)
    if elsewhere:
        timer = threading.Timer(0.1, events.close)
        timer.start()
        assert all(isinstance(event, Delta) for event in events)
        timer.join()
    else:
        events.close()
        assert next(events, None) is None
    assert server.hung_up.wait(5)


def test_several_requests_are_asked_side_by_side(server: Server) -> None:
    server.lines = [chunk("stop", content="Hi")]
    assert [events[0] for events in backend(server).answers([ASK] * 3)] == [Delta("Hi")] * 3
    assert backend(server).health() == {"status": "healthy"}


def test_what_an_endpoint_lacks_is_refused_and_what_it_has_besides_is_sent() -> None:
    hot = Request(messages=ASK.messages, sampling=Sampling(top_k=5, seed=3))
    with pytest.raises(UnsupportedInputError, match="plain does not take top_k"):
        body_of(hot, "m", PLAIN)
    assert body_of(hot, "m", ENDPOINTS["vllm"])["top_k"] == 5
    with pytest.raises(UnsupportedInputError, match="typical_p"):
        body_of(Request(messages=ASK.messages, sampling=Sampling(typical_p=0.5)), "m", ENDPOINTS["vllm"])
    asked = Request(messages=ASK.messages, tools=[WEATHER], tool_choice=NamedTool("weather"), parallel_tool_calls=False)
    body = body_of(asked, "m", PLAIN)
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["parallel_tool_calls"] is False and body["tools"] == [WEATHER]
    with pytest.raises(UnsupportedInputError, match="ollama does not take parallel_tool_calls, tool_choice"):
        body_of(asked, "m", ENDPOINTS["ollama"])
    with pytest.raises(UnsupportedInputError, match="google does not take tools"):
        body_of(Request(messages=ASK.messages, tools=[WEATHER]), "m", ENDPOINTS["google"])
    with pytest.raises(InvalidRequestError, match="either"):
        body_of(Request(), "m", PLAIN)


@pytest.mark.parametrize(
    ("grammar", "sent"),
    [
        (Grammar.choices(["a", "b"]), {"choice": ["a", "b"]}),
        (Grammar.regex("[ab]"), {"regex": "[ab]"}),
        (Grammar.lark('start: "a"'), {"grammar": 'start: "a"'}),
    ],
)
def test_grammars_go_where_they_are_known(grammar: Grammar, sent: dict[str, Any]) -> None:
    request = Request(messages=ASK.messages, constraint=grammar)
    assert body_of(request, "m", ENDPOINTS["vllm"])["structured_outputs"] == sent
    with pytest.raises(UnsupportedInputError, match="structured_outputs"):
        body_of(request, "m", PLAIN)


def test_a_schema_is_a_response_format(server: Server) -> None:
    request = Request(messages=ASK.messages, constraint=Grammar.schema({"type": "integer"}))
    assert body_of(request, "m", PLAIN)["response_format"]["json_schema"]["schema"] == {"type": "integer"}
    server.lines = [chunk("stop", content="7")]
    list(backend(server, also=frozenset({"top_k"})).stream(Request(messages=ASK.messages, sampling=Sampling(top_k=3))))
    assert server.asked[0][1]["top_k"] == 3


def test_pictures_and_sounds_travel_as_data() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    samples = np.array([0, 0.5, -2], np.float32)
    parts = [
        {"type": "image", "image": file.getvalue(), "detail": "high"},
        {"type": "text", "text": "and"},
        {"type": "image", "image": pixels},
        {"type": "audio", "audio": samples},
    ]
    (message,) = body_of(Request(messages=[{"role": "user", "content": parts}]), "m", PLAIN)["messages"]
    first, text, second, sound = message["content"]
    assert first["image_url"]["detail"] == "high" and text == {"type": "text", "text": "and"}
    assert first["image_url"]["url"] == "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    assert second["image_url"]["url"].startswith("data:image/png;base64,")
    with wave.open(io.BytesIO(base64.b64decode(sound["input_audio"]["data"]))) as heard:
        assert (heard.getframerate(), heard.getnchannels()) == (16_000, 1)
        assert np.frombuffer(heard.readframes(3), "<i2").tolist() == [0, 16384, -32767]
    with pytest.raises(InvalidRequestError, match="a sound is a"):
        body_of(Request(messages=[{"role": "user", "content": [{"type": "audio", "audio": pixels}]}]), "m", PLAIN)
    for kind, said in (("audio", "a JPEG file; send WAV"), ("image", "a WAV file; send PNG")):
        mistaken = file.getvalue() if kind == "audio" else wav(bytes(20))
        with pytest.raises(UnsupportedMediaError, match=said):
            body_of(Request(messages=[{"role": "user", "content": [{"type": kind, kind: mistaken}]}]), "m", PLAIN)


def test_earlier_calls_and_results_are_text_again() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "function": {"name": "weather", "arguments": {"city": "Rom"}}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "sun"},
    ]
    sent = body_of(Request(messages=messages), "m", PLAIN)["messages"]
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == '{"city": "Rom"}'
    assert sent[2]["tool_call_id"] == "1"


def test_a_system_message_opens_the_first_turn_where_there_are_no_roles() -> None:
    told = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    sent = body_of(Request(messages=told), "m", ENDPOINTS["google"])["messages"]
    assert sent == [{"role": "user", "content": "be brief\n\nhello"}]
    told[1]["content"] = [{"type": "text", "text": "hello"}]  # type: ignore[assignment]
    sent = body_of(Request(messages=told), "m", ENDPOINTS["google"])["messages"]
    assert sent[0]["content"] == [{"type": "text", "text": "be brief"}, {"type": "text", "text": "hello"}]


def test_addresses_and_keys_come_from_the_environment() -> None:
    with pytest.raises(InvalidRequestError, match="choose native, transformers or one of openai"):
        endpoint("azure")
    with pytest.raises(InvalidRequestError, match="GEMINI_API_KEY"):
        endpoint("google").key({})
    assert endpoint("google").key({"GEMINI_API_KEY": "k"}) == "k" and endpoint("ollama").key({}) is None
    with pytest.raises(InvalidRequestError, match="VERTEX_LOCATION"):
        endpoint("vertex").at(None, {})
    place = {"VERTEX_LOCATION": "europe-west1", "VERTEX_PROJECT": "p", "VERTEX_ENDPOINT": "7"}
    assert endpoint("vertex").at(None, place).url.endswith("/projects/p/locations/europe-west1/endpoints/7")
    assert endpoint("ollama").at("http://box:1/v1").url == "http://box:1/v1"
    own = endpoint("openai").at(None, {"OPENAI_BASE_URL": "http://box:2/v1"})
    assert own.url == "http://box:2/v1" and own.key({}) is None and own.key({"OPENAI_API_KEY": "k"}) == "k"
    with pytest.raises(InvalidRequestError, match="OPENAI_API_KEY"):
        endpoint("openai").at(None, {}).key({})


def test_a_model_elsewhere_is_loaded_by_name_and_gives_answers_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lines = [chunk("stop", content="Hi"), usage(5, 1, 0)]
    url = f"http://127.0.0.1:{server.server_port}/v1"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model = bezel.load("gemma", backend="openai", base_url=url, api_key="mine")
    result = model.chat("hello", temperature=0, max_tokens=3)
    assert result.text == "Hi" and result.usage.completion_tokens == 1
    assert server.asked[0][1]["temperature"] == 0 and server.asked[0][2] == "Bearer mine"
    assert [each.text for each in model.chat_batch(["a", "b"])] == ["Hi", "Hi"]
    assert model.describe()["engine"] == "openai"
    for ask in (lambda: model.logits([1, 2]), lambda: model.prompt_ids("hello"), lambda: model.tokenizer):
        with pytest.raises(UnsupportedInputError, match=r"load .* here"):
            ask()
    with pytest.raises(InvalidRequestError, match="ollama does not take threads, level"):
        bezel.load("gemma", "balanced", threads=2, backend="ollama")
    with pytest.raises(InvalidRequestError, match="native does not take base_url"):
        bezel.load("tiny", base_url=url)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    said = CliRunner().invoke(app, ["run", "-m", "gemma", "--backend", "openai", "hello"])
    assert said.exit_code == 0 and said.output == "Hi\n"


@pytest.fixture
def model(server: Server) -> bezel.Model:
    return bezel.load("gemma", backend="openai", base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="mine")


OBJECT = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("text", "place"), [("Sure! here", "the whole document"), ("[1, 2]", "the whole document"), ('{"a": "b"}', "(a)")]
)
def test_an_answer_that_is_not_what_its_schema_allows_is_told(
    server: Server, model: bezel.Model, text: str, place: str
) -> None:
    server.lines = [chunk("stop", content=text)]
    for ask in (model.chat, lambda question, **asked: model.chat_batch([question], **asked)[0]):
        with pytest.raises(ConstraintFailedError, match=re.escape(place)) as caught:
            ask("x", schema=OBJECT)
        assert str(caught.value).endswith(text)
        assert ask("x", schema=OBJECT, stop=["}"]).parsed is None
    server.lines = [chunk("stop", content='{"a": 1}')]
    assert model.chat("x", schema=OBJECT).parsed == model.chat("x", schema=OBJECT, stop=["!"]).parsed == {"a": 1}
    server.lines = [chunk("length", content=text)]
    assert model.chat("x", schema=OBJECT).parsed is None


def test_the_command_line_tells_of_it_too(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server.lines = [chunk("stop", content="Sure! here")]
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    (tmp_path / "schema.json").write_text(json.dumps(OBJECT))
    url = f"http://127.0.0.1:{server.server_port}/v1"
    asked = ["run", "-m", "gemma", "--backend", "openai", "--base-url", url, "--schema", str(tmp_path / "schema.json")]
    said = CliRunner().invoke(app, [*asked, "hello"])
    assert isinstance(said.exception, ConstraintFailedError) and "Sure! here" in str(said.exception)


def test_a_call_is_no_document(server: Server, model: bezel.Model) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    server.lines = [chunk("tool_calls", tool_calls=[call])]
    result = model.chat("x", schema=OBJECT, tools=[WEATHER])
    assert (result.parsed, result.calls) == (None, (Call("weather", {}),))


def test_what_cannot_be_sent_is_refused_before(server: Server, model: bezel.Model) -> None:
    with pytest.raises(InvalidRequestError, match="surrogates not allowed"):
        model.chat("a\ud800")
    with pytest.raises(InvalidRequestError, match="as JSON"):
        model.chat("x", tools=[{"type": "function", "function": {"name": "f", "parameters": {"x": float("nan")}}}])
    with pytest.raises(ConstraintError):
        model.chat("x", schema="{")
    assert server.asked == []


@dataclass
class Meeting:
    at: datetime
    people: int = 2


def test_a_type_takes_what_it_would_take_anyway(server: Server, model: bezel.Model) -> None:
    """Endpoints may know nothing of formats, and of fields that are not asked for."""
    server.lines = [chunk("stop", content='{"at": "2024-05-01T10:00:00", "people": 3, "where": "Oslo"}')]
    assert model.chat("x", schema=Meeting).parsed == Meeting(datetime(2024, 5, 1, 10), 3)
    server.lines = [chunk("stop", content='{"at": "2024-05-01 10:00:00"}')]  # which the grammar of a date would refuse
    assert model.chat("x", schema=Meeting).parsed == Meeting(datetime(2024, 5, 1, 10))
    server.lines = [chunk("stop", content='{"at": "2024-05-01T10:00:00", "people": "three"}')]
    with pytest.raises(ConstraintFailedError, match="people"):
        model.chat("x", schema=Meeting)
    asked = {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}
    server.lines = [chunk("stop", content='{"at": "noon"}')]
    assert model.chat("x", schema=asked).parsed == {"at": "noon"}, "formats only say what is meant"


def test_a_schema_of_another_draft_is_the_endpoints_matter(server: Server, model: bezel.Model) -> None:
    server.lines = [chunk("stop", content="[1]")]
    asked = {"type": "array", "items": [{"type": "integer"}]}
    assert model.chat("x", schema=asked).parsed == [1]
    assert server.asked[-1][1]["response_format"]["json_schema"]["schema"] == asked


def test_seeds_are_sent_as_they_were_written(server: Server, model: bezel.Model) -> None:
    server.lines = [chunk("stop", content="Hi")]
    for seed in (-1, 0, 2**63 - 1, -(2**63)):
        model.chat("x", seed=seed)
        assert server.asked[-1][1]["seed"] == seed
