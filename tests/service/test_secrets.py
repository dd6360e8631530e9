"""Neither content nor keys come out in logs, metrics or errors."""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Callable

from bezel.testing import CounterBackend
from tests.service.live import TOOLS, Live


def canaries(count: int) -> list[str]:
    rng = random.Random(1)
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
