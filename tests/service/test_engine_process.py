"""An engine that ends costs the streams in flight, and nobody else."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from bezel.backends.child.backend import ChildBackend, open_child
from bezel.errors import EngineLostError
from bezel.service.batches.runner import _MOST_LOSSES
from bezel.testing import GEMMA3, CounterBackend, instruction_sets, write_checkpoint
from tests.service.live import Live, wait_until

built = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
KILLS = int(os.environ.get("BEZEL_ENGINE_KILLS", "10"))
LONG = {"model": "small", "prompt": "word", "max_tokens": 8000, "logit_bias": {"1": -100, "5": -100}}
SHORT = {"model": "small", "prompt": "word", "max_tokens": 3, "logit_bias": {"1": -100, "5": -100}}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("model")
    write_checkpoint(folder / "small", config=GEMMA3 | {"max_position_embeddings": 8192})
    backend = open_child(model=str(folder / "small"), threads=1)
    found = Live(folder, backends={"small": backend}, rate_limit=0)
    yield found
    found.stop()
    assert backend.process_id is None, "the server's end is the process's"


def backend_of(live: Live) -> ChildBackend:
    backend = live.server.models["small"].backend
    assert isinstance(backend, ChildBackend)
    return backend


def kill(live: Live) -> None:
    process_id = backend_of(live).process_id
    assert process_id is not None
    os.kill(process_id, signal.SIGKILL)


def up(live: Live) -> None:
    wait_until(lambda: live.client.get("/ready").status_code == 200, 120)


@built
def test_a_stream_ends_with_an_error_and_later_requests_of_other_keys_succeed(live: Live) -> None:
    with live.client.stream("POST", "/v1/completions", json=LONG | {"stream": True}) as response:
        lines = response.iter_lines()
        next(lines)
        kill(live)
        *_, last, end = [line for line in lines if line.startswith("data: ")]
    assert end == "data: [DONE]" and response.status_code == 200
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("model_unavailable", "server_error") and "ended" in error["message"]
    other = live.key("generate")
    while (refused := live.client.post("/v1/completions", json=SHORT, headers=other)).status_code != 200:
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "model_unavailable"
        assert live.client.get("/health").status_code == 200
        time.sleep(0.05)
    assert refused.json()["usage"]["completion_tokens"] == 3
    assert live.client.get("/health/deep").json()["status"] == "healthy"
    wait_until(lambda: live.lanes().running == 0)


@built
def test_while_it_is_started_everybody_is_told(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = backend_of(live)._supervisor
    go, start = threading.Event(), type(supervisor)._started
    monkeypatch.setattr(type(supervisor), "_started", lambda self: go.wait() and start(self))
    before = live.client.get("/metrics").text
    try:
        kill(live)
        wait_until(lambda: backend_of(live).process_id is None)
        for body in (SHORT, SHORT | {"stream": True}, SHORT | {"n": 2}):
            refused = live.client.post("/v1/completions", json=body)
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        limited = live.key("generate", token_limit=10_000)
        assert live.client.post("/v1/completions", json=SHORT, headers=limited).status_code == 503
        assert live.client.post("/tokenize", json={"model": "small", "prompt": "a"}).status_code == 503
        assert live.client.get("/health").json() == {"status": "ok"}
        assert live.client.get("/ready").status_code == 503
        assert live.client.get("/health/deep").status_code == 503
        assert live.client.get("/v1/models").json()["data"][0]["max_model_len"] == 8192
        assert live.client.get("/v1/monitor").status_code == 200
    finally:
        go.set()
    up(live)
    assert live.client.post("/v1/completions", json=SHORT).status_code == 200
    name = 'bezel_engine_restarts_total{model_name="small"}'
    assert name in live.client.get("/metrics").text and before.count(name) <= 1
    events = [line for line in live.log() if "event" in line]
    assert {"engine_ended", "engine_started"} <= {line["event"] for line in events}
    assert all(line["model"] == "small" for line in events)


@built
def test_kills_in_a_row_never_hang_the_server(live: Live) -> None:
    codes: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=live.url, headers=live.bearer(live.secret), timeout=60, trust_env=False) as client:
            while not stop.is_set():
                codes.append(client.post("/v1/completions", json=LONG | {"max_tokens": 50}).status_code)
                stop.wait(0.05)

    before = backend_of(live).restarts
    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for _ in range(KILLS):
        kill(live)
        assert live.client.get("/health").status_code == 200
        wait_until(lambda: backend_of(live).process_id is None)
        wait_until(lambda: backend_of(live).process_id is not None, 120)
    stop.set()
    for asker in askers:
        asker.join(60)
    assert not any(asker.is_alive() for asker in askers) and set(codes) <= {200, 503} and 503 in codes
    up(live)
    assert live.client.post("/v1/completions", json=SHORT).status_code == 200
    assert backend_of(live).restarts == before + KILLS
    wait_until(lambda: live.lanes().running == live.lanes().waiting == 0)


class _Losing(CounterBackend):
    """Its engine ends `losses` times, each time in the middle of an answer."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = self.left = losses

    def stream(self, request: Any) -> Any:
        self._failure = EngineLostError("it ended") if self.left else None
        self.left -= bool(self.left)
        return super().stream(request)


@pytest.mark.parametrize("losses", [_MOST_LOSSES, _MOST_LOSSES + 5])
def test_a_line_of_a_batch_that_ends_its_engine_again_and_again_is_its_cause(
    start: Callable[..., Live], tmp_path: Any, losses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bezel.service.batches.runner._LONGEST_WAIT", 0.001)
    backend = _Losing(losses)
    live = start(backends={"counter": backend}, batch_folder=str(tmp_path / "batches"))
    body = {"model": "counter", "messages": [{"role": "user", "content": "one"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = live.openai.files.create(file=("a.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = live.openai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    wait_until(lambda: live.openai.batches.retrieve(batch.id).status == "completed")
    done = live.openai.batches.retrieve(batch.id)
    good = losses <= _MOST_LOSSES
    assert done.request_counts is not None and done.request_counts.completed == good
    assert backend.left == (0 if good else losses - _MOST_LOSSES - 1)
    if not good:
        assert done.error_file_id is not None
        result = json.loads(live.openai.files.content(done.error_file_id).text)
        assert result["response"]["status_code"] == 503
