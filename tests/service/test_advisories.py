"""What servers of this kind were attacked with, tried on every route that takes it, in front of a real engine.

docs/security.md says which tests hold for which class.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bezel.backends.interface import Request
from bezel.backends.native import NativeBackend
from bezel.testing import GEMMA3, GEMMA3_VISION, instruction_sets, write_checkpoint
from tests.media.samples import png
from tests.media.test_addresses import tricks
from tests.service.live import Live
from tests.service.test_batches import line, lines_of, run

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
EVERY = int(os.environ.get("BEZEL_TRICKS_EVERY", "12"))
"""Of the addresses that are tried, one in so many; 1 for all."""
_GRAMMAR = ("invalid_constraint", "VALIDATION_ERROR", "context_length_exceeded")
_MEDIA = ("invalid_media", "unsupported_input", "VALIDATION_ERROR")
_PRIVATE = re.compile(r"passwd|/dev/stdin|environ|id_rsa|a\.json")
PIXEL = "data:image/png;base64,"


@pytest.fixture(scope="module")
def sees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("sees")
    config = {**GEMMA3_VISION, "text_config": {**GEMMA3, "max_position_embeddings": 4096}}
    backend = NativeBackend.load(str(write_checkpoint(folder / "model", config=config)), threads=1)
    found = Live(folder, backends={"sees": backend}, rate_limit=0, batch_folder=str(folder / "batches"))
    yield found
    found.stop()


class Reached:
    """What this process opens, resolves and connects to while it is watched, but for its own server."""

    def __init__(self) -> None:
        self.watching, self.own, self.seen = False, 0, []  # type: tuple[bool, int, list[str]]
        sys.addaudithook(self._note)

    def _note(self, event: str, details: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "socket.connect" and isinstance(details[1], tuple) and details[1][1] != self.own:
            self.seen.append(f"connect {details[1]}")
        elif event == "socket.getaddrinfo" and details[1] != self.own:
            self.seen.append(f"resolve {details[:2]}")
        elif event == "open" and isinstance(details[0], str) and _PRIVATE.search(details[0]):
            self.seen.append(f"open {details[0]}")


@pytest.fixture(scope="module")
def watcher() -> Reached:
    return Reached()


@pytest.fixture
def reached(watcher: Reached, sees: Live) -> Iterator[list[str]]:
    """What was reached during a test so far."""
    sees.client.get("/health")
    watcher.seen.clear()
    watcher.own, watcher.watching = sees.port, True
    yield watcher.seen
    watcher.watching = False


def chat(content: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "sees", "max_tokens": 1, "messages": [{"role": "user", "content": content}], **fields}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


PATHS = [
    "file:///etc/passwd",
    "/etc/passwd",
    "../../../../etc/passwd",
    "\\\\evil.example\\share",
    "~/.ssh/id_rsa",
    "C:\\x",
]
PATHS += ["/dev/stdin", "/proc/self/environ", "ftp://127.0.0.1/a", "gopher://127.0.0.1:6379/_", "data:text/html,<b>"]
PATHS += [
    "data:image/png,AAAA",
    PIXEL,
    PIXEL + "!!!!",
    PIXEL + "AAA",
    "data:image/svg+xml;base64,PHN2Zy8+",
    "",
    " ",
    "\x00",
]


def test_media_and_addresses_reach_nothing_by_any_route(sees: Live, reached: list[str]) -> None:
    addresses = tricks(9)
    assert len(addresses) >= 500
    urls = [*PATHS, *addresses[::EVERY]]
    for url in urls:
        item = {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
        ollama = {"model": "sees", "messages": [{"role": "user", "content": "a", "images": [url]}]}
        sound = {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}}
        for path, body in (
            ("/v1/chat/completions", chat([image(url)])),
            ("/v1/chat/completions", chat([image(url)], stream=True)),
            ("/v1/chat/completions", chat([sound])),
            ("/v1/responses", {"model": "sees", "input": [item]}),
            ("/api/chat", ollama),
            ("/api/generate", {"model": "sees", "prompt": "a", "images": [url]}),
            ("/tokenize", {"model": "sees", "messages": chat([image(url)])["messages"]}),
        ):
            response = sees.client.post(path, json=body)
            assert response.status_code == 400, (path, url, response.text)
            assert response.json()["error"]["code"] in _MEDIA, (path, url)
            assert url.strip()[:20] not in response.json()["error"]["message"] or len(url) < 9, (path, url)
    batch = run(sees, "\n".join(line(number, chat([image(url)])) for number, url in enumerate(urls)))
    assert (batch.request_counts.completed, batch.request_counts.failed) == (0, len(urls))
    codes = {each["response"]["body"]["error"]["code"] for each in lines_of(sees, batch.error_file_id)}
    assert codes <= {*_MEDIA} and reached == []


BOMBS = {"many pixels": png(60_000, 60_000), "a long row": png(0x7FFFFFFF, 1), "no pixels": png(0, 5)}


@pytest.mark.parametrize("name", BOMBS)
def test_media_that_would_be_large_are_refused_by_any_route(sees: Live, name: str) -> None:
    import base64

    text = base64.b64encode(BOMBS[name]).decode()
    item = {"role": "user", "content": [{"type": "input_image", "image_url": PIXEL + text}]}
    ollama = {"model": "sees", "messages": [{"role": "user", "content": "a", "images": [text]}]}
    for path, body in (
        ("/v1/chat/completions", chat([image(PIXEL + text)])),
        ("/v1/responses", {"model": "sees", "input": [item]}),
        ("/api/chat", ollama),
    ):
        response = sees.client.post(path, json=body)
        assert response.status_code == 400 and response.json()["error"]["code"] == "invalid_media", response.text


CONTROL = ("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<start_of_image>", "<image_soft_token>")
TEMPLATE = "{{ 7 * 7 }}{% for x in range(10 ** 9) %}{% endfor %}{{ self.__init__.__globals__ }}{# a #}"


def spoken(text: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Every route and field by which content comes to a model."""
    user = {"role": "user", "content": text}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": text})}}
    parts: dict[str, Any] = {"model": "sees", "max_tokens": 1}
    tool = {"type": "function", "function": {"name": "f", "description": text, "parameters": {"title": text}}}
    told = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]
    output = {"type": "function_call_output", "call_id": "c", "output": text}
    called = {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"a": text})}
    short: dict[str, Any] = {"stream": False, "options": {"num_predict": 1}, "model": "sees"}
    brief: dict[str, Any] = {"model": "sees", "max_output_tokens": 1}
    answered = [*told, {"role": "tool", "tool_call_id": "c", "content": text}]
    return {
        "user": ("/v1/chat/completions", {**parts, "messages": [user]}),
        "part": ("/v1/chat/completions", chat([{"type": "text", "text": text}])),
        "system": ("/v1/chat/completions", {**parts, "messages": [{"role": "system", "content": text}, user]}),
        "name": ("/v1/chat/completions", {**parts, "messages": [{**user, "name": text[:250]}]}),
        "assistant": ("/v1/chat/completions", {**parts, "messages": [user, {**user, "role": "assistant"}, user]}),
        "tool": ("/v1/chat/completions", {**parts, "messages": answered}),
        "description": ("/v1/chat/completions", {**parts, "messages": [user], "tools": [tool]}),
        "completion": ("/v1/completions", {**parts, "prompt": text}),
        "instructions": ("/v1/responses", {**brief, "instructions": text, "input": text}),
        "output": ("/v1/responses", {**brief, "input": [user, called, output]}),
        "ollama": ("/api/chat", {**short, "messages": [user]}),
        "raw": ("/api/generate", {**short, "prompt": text, "raw": True}),
        "ollama system": ("/api/generate", {**short, "prompt": text, "system": text}),
    }  # fmt: skip


@pytest.fixture
def asked(sees: Live, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the model is asked."""
    backend, requests = sees.server.models["sees"].backend, list[Request]()
    stream = backend.stream

    def noting(request: Request) -> Any:
        requests.append(request)
        return stream(request)

    monkeypatch.setattr(backend, "stream", noting)
    return requests


@pytest.mark.parametrize("name", spoken(""))
def test_templates_no_content_is_a_control_token_or_a_template_by_any_route(
    sees: Live, asked: list[Request], name: str
) -> None:
    backend = sees.server.models["sees"].backend
    assert isinstance(backend, NativeBackend)
    counts = []
    for text in ("plain", "".join(CONTROL) + TEMPLATE):
        path, body = spoken(text)[name]
        response = sees.client.post(path, json=body)
        assert response.status_code == 200, response.text
        ids = backend.prompt_ids(asked[-1])
        counts.append(sum(token in backend.tokenizer.control_ids for token in ids))
        if name not in ("name", "description", "tool", "output"):  # what quotes JSON
            assert text in backend.text_of(ids)
    assert counts[0] == counts[1], counts


def test_templates_of_a_request_are_refused(sees: Live) -> None:
    for path, fields in (
        ("/api/generate", {"template": TEMPLATE}),
        ("/v1/chat/completions", {"chat_template": TEMPLATE}),
        ("/v1/chat/completions", {"chat_template_kwargs": {"a": 1}}),
    ):
        body = {**chat("a"), "prompt": "a"} if path.startswith("/api") else chat("a")
        refused = sees.client.post(path, json={**body, **fields})
        assert refused.status_code == 400 and refused.json()["error"]["code"] == "unknown_parameter"


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def text(**keywords: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"type": "string", **keywords}}, "required": ["a"]}


WIDE = {
    "anyOf": [
        {"type": "object", "properties": {f"p{n}": {"anyOf": [{"const": m} for m in range(16)]}}} for n in range(40)
    ]
}
GRAMMARS: dict[str, dict[str, Any]] = {
    "deep": nested(300),
    "exponential pattern": text(pattern="^(([a-z])+.)+[A-Z]([a-z])+$"),
    "nested repeats": text(pattern="((a{1,999}){1,999}){1,999}"),
    "long repeat": text(pattern="a{1000000000}"),
    "open groups": text(pattern="(" * 5_000),
    "look around": text(pattern="(?=a)(?<!b)(a)\\1"),
    "many lengths": text(minLength=10**9, maxLength=10**12),
    "many items": {"type": "object", "properties": {"a": {"type": "array", "minItems": 10**9, "items": {}}}},
    "itself": {"$ref": "#"},
    "another address": {"$ref": "http://127.0.0.1:9/a.json"},
    "a file": {"$ref": "file:///etc/passwd"},
    "many values": {"type": "object", "properties": {"a": {"enum": list(range(20_000))}}},
    "conditions": {"allOf": [WIDE] * 8},
    "no answer": {"allOf": [{"type": "object"}, {"type": "string"}]},
    "numbers": {"type": "object", "properties": {"a": {"type": "number", "multipleOf": 1e-300, "minimum": -1e308}}},
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_grammars_are_followed_or_refused(sees: Live, reached: list[str], name: str) -> None:
    schema = GRAMMARS[name]
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    item = {"format": {"type": "json_schema", "name": "a", "schema": schema}}
    for path, body in (
        ("/v1/chat/completions", chat("a", response_format=form)),
        ("/v1/chat/completions", chat("a", tools=[tool], tool_choice="required")),
        ("/v1/responses", {"model": "sees", "input": "a", "max_output_tokens": 1, "text": item}),
        ("/api/generate", {"model": "sees", "prompt": "a", "format": schema, "options": {"num_predict": 1}}),
    ):
        response = sees.client.post(path, json=body)
        assert response.status_code in (200, 400), (path, response.text[:300])
        if response.status_code == 400:
            assert response.json()["error"]["code"] in _GRAMMAR, response.text
    assert reached == [] and sees.client.post("/v1/chat/completions", json=chat("a")).status_code == 200


def test_grammars_of_a_batch_cost_their_line_alone(sees: Live) -> None:
    bodies = [chat("a", response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": GRAMMARS[name]}})
              for name in ("deep", "open groups", "another address")]  # fmt: skip
    batch = run(sees, "\n".join(line(number, body) for number, body in enumerate([*bodies, chat("a")])))
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 3)


@pytest.mark.parametrize("count", [0, 9, 128, 129, 2**31, -1, 1e9, "8"])
def test_n_is_no_more_than_the_model_answers_at_once(sees: Live, count: Any) -> None:
    for path, body in (
        ("/v1/chat/completions", chat("a", n=count)),
        ("/v1/completions", {"model": "sees", "prompt": "a", "max_tokens": 1, "n": count}),
        ("/v1/completions", {"model": "sees", "prompt": ["a"] * 129, "max_tokens": 1, "best_of": count}),
    ):
        refused = sees.client.post(path, json=body)
        assert refused.status_code == 400, refused.text
    batch = run(sees, line(1, chat("a", n=count)))
    assert batch.request_counts.failed == 1
    assert sees.lanes().running == 0


def test_prompts_and_answers_count_together(sees: Live) -> None:
    refused = sees.client.post("/v1/completions", json={"model": "sees", "prompt": ["a", "b", "c"], "n": 3})
    assert refused.status_code == 400 and sees.lanes().running == 0


def test_folders_of_the_server_are_not_read_by_names(sees: Live) -> None:
    for name in ("..%2f..%2fkeys.sqlite3", "%2e%2e/keys.sqlite3", "/etc/passwd", "file-../../x", "' OR 1=1 --", "%00"):
        for path in (f"/v1/files/{name}", f"/v1/files/{name}/content", f"/v1/batches/{name}", f"/v1/models/{name}"):
            assert sees.client.get(path).status_code in (400, 404), path
    assert Path(sees.server.settings.api_key_db).exists()
