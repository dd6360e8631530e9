"""Neither content nor keys come out in logs, metrics or errors."""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bezel.testing import CounterBackend
from tests.fuzz.server_life import flagging
from tests.service.engines import CountingEmbedder, CountingHearer
from tests.service.live import CHAT, TOOLS, Live
from tests.service.test_audio import wav
from tests.service.test_batches import line, run

AUDIO = "/v1/audio/transcriptions"


def canaries(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(string.ascii_letters, k=16)) for _ in range(count)]


def test_no_canary_comes_out(start: Callable[..., Live]) -> None:
    words = iter(canaries(10_000))
    used: list[str] = []

    def word() -> str:
        used.append(next(words))
        return used[-1]

    def many(count: int) -> str:
        return " ".join(word() for _ in range(count))

    failing = CounterBackend(failure=RuntimeError(many(20)), fails_at=2)
    counter = CounterBackend()
    live = start(backends={"counter": counter, "failing": failing}, rate_limit=0)
    answers = []
    for model in ("counter", "failing", word()):
        for stream in (False, True):
            tools = [{"type": "function", "function": {"name": word(), "description": many(50)}}]
            content = [{"type": "text", "text": many(500) + "\u200b"}, {"type": "text", "text": many(100)}]
            messages = [{"role": "system", "content": many(100)}, {"role": "user", "content": content}]
            answers.append(
                live.chat(model=model, messages=messages, tools=tools, tool_choice="none", stream=stream, user=word())
            )
        answers.append(live.client.post("/v1/completions", json={"model": model, "prompt": [many(100), many(100)]}))
        answers.append(live.client.post("/tokenize", json={"model": model, "prompt": many(100)}))
    for broken in (
        {"temperature": word()},
        {word(): 1},
        {"messages": [{"role": word(), "content": many(10)}]},
        {"messages": [{"role": "user", "content": [{"type": word()}]}]},
        {"logit_bias": {word(): 1}},
        {"tools": [*TOOLS, {"type": "function", "function": {"name": many(2)}}]},
        {"response_format": {"type": word()}},
        {"tool_choice": word()},
        {"stop": [word()] * 9},
    ):
        answers.append(live.chat(**broken))
    answers.append(
        live.client.post("/v1/chat/completions", content=word(), headers={"content-type": "application/json"})
    )
    for path in ("/v1/models/", "/", "/v1/"):
        answers.append(live.client.get(f"{path}{word()}?key={word()}"))
    answers.append(live.client.get("/v1/models", headers={"authorization": f"Bearer bz-{word()}"}))
    answers.append(live.client.get("/v1/models", headers={"host": word(), "x-request-id": f"{word()} {word()}"}))
    assert len(used) > 4_000 and {answer.status_code for answer in answers} >= {200, 400, 401, 404, 421, 500}
    live.log(len(answers))
    metrics = live.client.get("/metrics").text
    assert "counter" in metrics and len(live.log(len(answers) + 1)) == len(answers) + 1
    log = live.log_text.getvalue()
    replies = "\n".join(f"{dict(answer.headers)} {answer.text}" for answer in answers)
    named = {"messages": 0}
    for secret in [*used, live.secret, live.secret[3:]]:
        assert secret not in metrics and secret not in log
        named["messages"] += secret in replies
    # A client is told which of its own fields is not known.
    assert named["messages"] <= 1


def test_no_canary_comes_out_of_any_other_route(start: Callable[..., Live], tmp_path: Path, capfd: Any) -> None:
    """Ollama's, responses, embeddings, recordings, files, batches, and what is watched: 10,000 words good and bad."""
    words = iter(canaries(10_000, 2))
    used: list[str] = []
    fields: set[str] = set()

    def word() -> str:
        used.append(next(words))
        return used[-1]

    def field() -> str:
        fields.add(word())
        return used[-1]

    def many(count: int) -> str:
        return " ".join(word() for _ in range(count))

    failing = CounterBackend(failure=RuntimeError(many(20)), fails_at=2)
    hearer = CountingHearer(failure=RuntimeError(many(20)), fails_at=2)
    backends = {"counter": CounterBackend(), "failing": failing, "embedder": CountingEmbedder(), "hearer": hearer}
    live = start(backends=backends, rate_limit=0, policy=flagging(tmp_path), batch_folder=str(tmp_path / "batches"))
    answers = []

    def post(path: str, **body: Any) -> None:
        answers.append(live.client.post(path, json=body))

    for model in ("counter", "failing", "embedder", word()):
        for stream in (False, True):
            tool = {"name": word(), "description": many(20), "parameters": {word(): many(20)}}
            messages = [{"role": "system", "content": many(100)}, {"role": "user", "content": many(130) + "\u202e"}]
            function = {"type": "function", "function": tool}
            post("/api/chat", model=model, messages=messages, tools=[function], stream=stream, keep_alive=word())
            post("/api/generate", model=model, prompt=many(200), system=many(30), stream=stream)
            items = [*messages, {"type": "function_call_output", "call_id": word(), "output": many(80)}]
            post("/v1/responses", model=model, input=items, stream=stream, user=word())
            post("/v1/responses", model=model, input=many(100), prompt_cache_key=word(), stream=stream)
        post("/v1/responses/input_tokens", model=model, input=many(200))
        post("/v1/moderations", input=[many(50), f"a rumour {word()} {word()}@{word()}.example"])
        post("/v1/moderations", input=many(50), model=word())
        post("/v1/embeddings", model=model, input=[many(200), many(200)], user=word())
        post("/v1/embeddings", model=model, input="a", task=word())
        post("/api/show", model=model, **{field(): word()})
        form = {"model": model, "language": word()}
        answers.append(live.client.post(AUDIO, data=form, files={"file": (word(), wav(0.1))}))
        answers.append(live.client.post(AUDIO, data={"model": model}, files={"file": (word(), many(9).encode())}))
    answers.append(live.client.post(AUDIO, data={"model": "hearer"}, files={"file": (word(), wav(0.1))}))
    answers.append(live.client.post(AUDIO, data={"model": "hearer", "prompt": many(50)}, files={"file": (word(), b"")}))
    for broken in (
        {"input": [{"type": word()}]},
        {"text": {"format": {"type": word()}}},
        {"include": [word()]},
        {"reasoning": {"effort": word()}},
        {"previous_response_id": word()},
        {"metadata": {field(): {word(): word()}}},
    ):
        post("/v1/responses", **{"model": "counter", "input": many(50), **broken})
    for options in ({"stop": [word()] * 9}, {"seed": word()}, {"num_ctx": many(3)}):
        post("/api/chat", model="counter", messages=[{"role": "user", "content": many(50)}], options=options)
    post("/v1/batches", input_file_id=word(), endpoint=word(), completion_window=word(), metadata={"a": word()})
    for purpose in ("batch", word()):
        file = {"file": (word(), "\n".join(many(50) for _ in range(5)).encode())}
        answers.append(live.client.post("/v1/files", data={"purpose": purpose}, files=file))
    bodies = [
        {**CHAT, "messages": [{"role": "user", "content": many(100)}], "model": m} for m in ("counter", "failing")
    ]
    bodies += [{**CHAT, "temperature": many(20)}, {**CHAT, "messages": [{"role": word(), "content": many(20)}]}]
    batch = run(live, "\n".join(line(number, body) for number, body in enumerate(bodies)))
    found = [live.client.get(f"/v1/files/{each}/content") for each in (batch.output_file_id, batch.error_file_id)]
    assert [each.text.count("\n") for each in found] == [1, 3]
    for path in ("files", "batches", "models", "files/x/content?", "batches?after=", "page/"):
        answers.append(live.client.get(f"/v1/{path}/{word()}?{word()}={word()}"))
    watched = [live.client.get(path) for path in ("/metrics", "/v1/monitor", "/health/deep", "/openapi.json")]
    assert len(used) > 9_000 and {answer.status_code for answer in answers} >= {200, 400, 404, 500}
    live.log(len(answers))
    log, printed = live.log_text.getvalue(), "".join(capfd.readouterr())
    told = "\n".join(f"{dict(answer.headers)} {answer.text}" for answer in [*watched, *found])
    refused = [answer for answer in answers if answer.status_code >= 400 or b"GENERATION_ERROR" in answer.content]
    errors = "\n".join(f"{dict(answer.headers)} {answer.text}" for answer in refused)
    assert "counter" in told and len(refused) > 40
    out = [secret for secret in (*used, live.secret) if secret in log + printed + told]
    assert out == []
    told_of = {secret for secret in used if secret in errors}
    assert told_of <= fields, "a client is told the names of its own fields alone"


def test_the_log_says_who_asked_what_for_how_much(start: Callable[..., Live]) -> None:
    live = start()
    live.chat(messages=[{"role": "user", "content": "one two\u200b"}])
    (line,) = live.log(1)
    assert line["content_sha256"] == hashlib.sha256("one two\u200b\0".encode()).hexdigest()
    assert line["key_id"].startswith("key_") and line["route"] == "/v1/chat/completions" and line["model"] == "counter"
    assert (line["prompt_tokens"], line["completion_tokens"], line["status"]) == (2, 5, 200)
    assert line["changes"] == ["invisible characters removed"] and line["seconds"] >= line["first_token_seconds"] > 0
    allowed = {
        *("time", "request_id", "key_id", "method", "route", "status", "model", "prompt_tokens", "cached_tokens"),
        *("completion_tokens", "seconds", "queue_seconds", "first_token_seconds", "content_sha256", "changes"),
    }
    assert set(line) <= allowed
    assert json.dumps(line)
