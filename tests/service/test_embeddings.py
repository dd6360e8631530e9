"""Embeddings."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

import bezel
from bezel.backends.opening import open_backend
from bezel.testing import GEMMA3, CounterBackend, instruction_sets, write_checkpoint
from tests.service.engines import CountingEmbedder
from tests.service.live import CHAT, Live, wait_until
from tests.service.test_numbers import HOSTILE, RAW

BODY = {"model": "embedder", "input": "one two"}


@pytest.fixture(scope="module")
def embeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    backends = {"embedder": CountingEmbedder(context=100), "counter": CounterBackend()}
    found = Live(tmp_path_factory.mktemp("embeds"), backends=backends, rate_limit=0)
    yield found
    found.stop()


@pytest.mark.parametrize("form", ["float", "base64", openai.omit])
def test_texts_as_vectors(embeds: Live, form: str) -> None:
    texts, before = ["one", "one two", *["many words here"] * 40], len(embeds.log())
    found = embeds.openai.embeddings.create(model="embedder", input=texts, encoding_format=form)  # type: ignore[arg-type]
    expected = CountingEmbedder().embed(texts)
    for index, each in enumerate(found.data):
        row = each.embedding
        if form == "base64":
            row = np.frombuffer(base64.b64decode(row), "<f4").tolist()  # type: ignore[arg-type]
        assert each.index == index and row == expected[index].tolist()
    assert (found.usage.prompt_tokens, found.usage.total_tokens, found.object) == (123, 123, "list")
    line = embeds.log(before + 1)[-1]
    assert (line["model"], line["prompt_tokens"]) == ("embedder", 123) and len(line["content_sha256"]) == 64


def test_fewer_numbers_and_tasks(embeds: Live) -> None:
    client = embeds.openai.embeddings
    assert len(client.create(model="embedder", input="a", dimensions=2).data[0].embedding) == 2
    plain, asked = (client.create(model="embedder", input="a", extra_body=extra) for extra in ({}, {"task": "query"}))
    assert plain.data[0].embedding != asked.data[0].embedding and asked.usage.prompt_tokens == 2


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"model": "counter"}, "unsupported_input", "embeds nothing"),
        ({"model": "none"}, "model_not_found", "not served"),
        ({"input": ["a", 1]}, "VALIDATION_ERROR", "must be a text"),
        ({"input": []}, "VALIDATION_ERROR", "at least 1 items"),
        ({"input": ["a"] * 2049}, "VALIDATION_ERROR", "at most 2048 items"),
        ({"input": "a " * 101}, "context_length_exceeded", "100"),
        ({"dimensions": 5}, "VALIDATION_ERROR", "1 to 4"),
        ({"task": "poem"}, "VALIDATION_ERROR", "knows query"),
        ({"encoding_format": "hex"}, "VALIDATION_ERROR", "one of"),
        ({"truncate": True}, "unknown_parameter", "truncate"),
    ],
)
def test_what_is_refused(embeds: Live, fields: dict[str, object], code: str, words: str) -> None:
    response = embeds.client.post("/v1/embeddings", json={**BODY, **fields})
    error = response.json()["error"]
    assert response.status_code in (400, 404) and error["code"] == code and words in error["message"]


@pytest.mark.parametrize("name", [*BODY, "task", "dimensions", "encoding_format", "user", "other"])
def test_hostile_values(embeds: Live, name: str) -> None:
    statuses = set()
    for text in [json.dumps(value) for value in HOSTILE] + RAW:
        body = json.dumps({**BODY, name: "@@"}).replace('"@@"', text)
        response = embeds.client.post("/v1/embeddings", content=body, headers={"content-type": "application/json"})
        statuses.add(response.status_code)
        assert response.status_code in (200, 400, 404), (text[:80], response.text[:200])
    assert statuses & {400, 404}


def test_tokens_are_reserved_and_settled(start: Callable[..., Live]) -> None:
    live = start(backends={"embedder": CountingEmbedder()}, token_limit=10)
    first = live.client.post("/v1/embeddings", json={**BODY, "input": "a b c d e f"})
    assert first.status_code == 200 and first.headers["x-ratelimit-remaining-tokens"] == "4"
    beyond = live.client.post("/v1/embeddings", json={**BODY, "input": "a b c d e"})
    assert beyond.status_code == 429 and int(beyond.headers["retry-after"]) >= 1
    assert live.client.post("/v1/embeddings", json={**BODY, "input": "a b c d"}).status_code == 200


def test_who_goes_stops_the_work(start: Callable[..., Live]) -> None:
    gate = threading.Event()
    backend = CountingEmbedder(gate=gate)
    live = start(backends={"embedder": backend}, max_num_seqs=1)
    with pytest.raises(httpx.ReadTimeout):
        live.client.post("/v1/embeddings", json={**BODY, "input": ["a"] * 2000}, timeout=0.3)
    line = live.log(1)[0]
    assert line["error"] == "client_closed_request" and live.lanes().running == 1
    gate.set()
    wait_until(lambda: live.lanes().running == 0)
    assert backend.produced == 16
    assert live.client.post("/v1/embeddings", json=BODY).status_code == 200


@pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
def test_a_checkpoint_answers_as_the_python_api(tmp_path: Path, start: Callable[..., Live]) -> None:
    folder = write_checkpoint(tmp_path / "model", config={**GEMMA3, "use_bidirectional_attention": True})
    (folder / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Transformer"}]))
    prompts = {"prompts": {"query": "query: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    live = start(backends={"real": open_backend(str(folder), threads=1)})
    model = bezel.load(str(folder), threads=1)
    texts = ["one", "the old mill " * 20, *"abcdefghijklmnopq"]
    expected = model.embed(texts, "query", 16)
    found = live.openai.embeddings.create(
        model="real", input=texts, dimensions=16, encoding_format="float", extra_body={"task": "query"}
    )
    np.testing.assert_array_equal(np.array([each.embedding for each in found.data], np.float32), expected)
    assert found.usage.prompt_tokens > sum(map(len, texts)) / 2
    refused = live.client.post("/v1/chat/completions", json={**CHAT, "model": "real"})
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "unsupported_input"
