"""Streams under load: who goes is cancelled within a step, who is slow is bounded, who is too many is refused."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from bezel.service import responses
from bezel.service.errors import ApiError
from bezel.service.lanes import Lanes
from bezel.service.runs import Inbox, Run
from bezel.testing import CounterBackend
from tests.service.live import CHAT, Live, events, wait_until


def test_a_stream_whose_client_goes_is_cancelled_within_a_step(start: Callable[..., Live]) -> None:
    counter = CounterBackend(count=10_000, delay=0.02)
    live = start(backends={"counter": counter})
    with live.client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
        lines = response.iter_lines()
        for _ in range(5):
            next(lines)
    produced = counter.produced
    wait_until(lambda: counter.running == 0)
    assert counter.cancelled == 1 and counter.produced < produced + 50
    wait_until(lambda: live.lanes().running == 0 and len(live.log()) == 1)
    (line,) = live.log()
    assert line["error"] == "client_closed_request" and 0 < line["completion_tokens"] < 10_000


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_before_the_first_token_is_cancelled_while_the_model_is_busy(
    start: Callable[..., Live], stream: bool
) -> None:
    counter = CounterBackend(delay=3600)
    live = start(backends={"counter": counter})
    with pytest.raises(httpx.ReadTimeout):
        live.client.post("/v1/chat/completions", json={**CHAT, "stream": stream}, timeout=0.3)
    wait_until(lambda: counter.cancelled == 1 and live.lanes().running == 0)
    assert counter.produced == 0


def test_who_goes_while_waiting_leaves_the_queue(start: Callable[..., Live]) -> None:
    counter = CounterBackend(delay=3600)
    live = start(backends={"counter": counter}, max_num_seqs=1)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(_post, live, 1.5)
        wait_until(lambda: counter.running == 1)
        with pytest.raises(httpx.ReadTimeout):
            live.client.post("/v1/chat/completions", json=CHAT, timeout=0.2)
        wait_until(lambda: live.lanes().waiting == 0)
        assert first.result() is None
    wait_until(lambda: counter.cancelled == 1 and live.lanes().running == 0)


def _post(live: Live, timeout: float) -> httpx.Response | None:
    with httpx.Client(base_url=live.url, headers=live.client.headers, timeout=timeout, trust_env=False) as client:
        try:
            return client.post("/v1/chat/completions", json=CHAT)
        except httpx.ReadTimeout:
            return None


def test_too_many_are_refused_quickly_and_told_when_to_come_again(start: Callable[..., Live]) -> None:
    gate = threading.Event()
    live = start(backends={"counter": CounterBackend(count=3, gate=gate)}, max_num_seqs=2, max_queue=3)
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(_post, live, 60) for _ in range(12)]
        wait_until(lambda: sum(each.done() for each in waiting) == 7)
        gate.set()
        found = [answer for each in waiting if (answer := each.result()) is not None]
    statuses = sorted(answer.status_code for answer in found)
    assert statuses == [200] * 5 + [503] * 7
    for answer in found:
        if answer.status_code == 503:
            assert answer.json()["error"]["code"] == "server_overloaded"
            assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert live.lanes().running == 0 and live.lanes().waiting == 0


def test_readiness_says_when_no_request_would_be_taken(start: Callable[..., Live]) -> None:
    live = start(backends={"counter": CounterBackend(delay=3600)}, max_num_seqs=1, max_queue=0)
    assert live.client.get("/ready").status_code == 200
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(_post, live, 1.0)
        wait_until(lambda: live.lanes().running == 1)
        assert live.client.get("/ready").status_code == 503 and live.client.get("/health").status_code == 200
        waiting.result()


def test_who_waits_too_long_is_refused(start: Callable[..., Live]) -> None:
    gate = threading.Event()
    live = start(backends={"counter": CounterBackend(gate=gate)}, max_num_seqs=1, queue_seconds=0.2)
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(_post, live, 60) for _ in range(2)]
        wait_until(lambda: any(each.done() for each in waiting))
        gate.set()
        found = [answer for each in waiting if (answer := each.result()) is not None]
    assert sorted(answer.status_code for answer in found) == [200, 503]
    assert any("waited too long" in answer.text for answer in found)


def test_a_slow_reader_bounds_what_is_held_and_is_cut_off(start: Callable[..., Live]) -> None:
    counter = CounterBackend(count=3_000_000)
    live = start(backends={"counter": counter}, slow_reader_seconds=0.5)
    body = b'{"model":"counter","stream":true,"messages":[{"role":"user","content":"a"}]}'
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", live.port))
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {live.secret}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        connection.recv(100)
        wait_until(lambda: counter.cancelled == 1)
        # What the kernel's buffers and 32 events hold, of a gigabyte.
        assert counter.produced < 100_000
    wait_until(lambda: live.lanes().running == 0)


def test_a_quiet_stream_says_that_it_lives(start: Callable[..., Live], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "PING_SECONDS", 0.05)
    live = start(backends={"counter": CounterBackend(count=2, delay=0.4)})
    response = live.chat(stream=True)
    assert response.text.count(": ping\n\n") >= 3
    assert [chunk["choices"][0]["delta"].get("content") for chunk in events(response)] == ["", "1", " 2", None]


def test_many_streams_lose_repeat_and_reorder_nothing(start: Callable[..., Live]) -> None:
    live = start(backends={"counter": CounterBackend(count=200)}, max_num_seqs=16, rate_limit=0)
    expected = " ".join(map(str, range(1, 201)))

    def read(_: int) -> str:
        with httpx.Client(base_url=live.url, headers=live.client.headers, timeout=120, trust_env=False) as client:
            response = client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(response))

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(read, range(48))) == {expected}
    wait_until(lambda: live.lanes().running == 0)


def test_who_asks_again_at_once_finds_the_lane_free(start: Callable[..., Live]) -> None:
    live = start(max_num_seqs=1, max_queue=0)
    assert {live.chat().status_code for _ in range(50)} == {200}


def test_lanes_are_first_come_first_served_and_several_at_once() -> None:
    order: list[int] = []

    async def one(lanes: Lanes, number: int, count: int) -> None:
        since = await lanes.enter(count)
        order.append(number)
        await asyncio.sleep(0)
        lanes.leave(count, since)

    async def run() -> None:
        lanes = Lanes(3, 10, 5.0)
        since = await lanes.enter(2)
        tasks = [asyncio.create_task(one(lanes, number, count)) for number, count in enumerate((3, 1, 1))]
        await asyncio.sleep(0)
        assert order == [] and lanes.waiting == 3 and lanes.running == 2, "the small ones do not overtake"
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        await asyncio.gather(*tasks[1:3][:0])
        lanes.leave(2, since)
        await asyncio.gather(*tasks[1:])
        assert order == [1, 2] and lanes.running == 0 and lanes.waiting == 0
        with pytest.raises(ApiError):
            lanes.check(4)

    asyncio.run(run())


def test_a_run_is_read_no_further_than_there_is_room() -> None:
    counter = CounterBackend(count=1000)

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            items = Inbox()
            one = Run(counter.stream, _request(), 7, items, pool, 10.0)
            await asyncio.sleep(0.3)
            assert len(items) == 32 and counter.produced <= 33
            for _ in range(10):
                assert (await items.get())[0] == 7
                one.taken()
            await asyncio.sleep(0.3)
            assert len(items) == 32
            one.close()
            await one.finished
            assert counter.cancelled == 1 and counter.running == 0

    asyncio.run(run())


def _request() -> Any:
    from bezel.backends.interface import Request

    return Request(prompt="a")


def test_a_counter_that_waits_is_closed_by_another_thread() -> None:
    counter = CounterBackend(delay=3600)
    stream = counter.stream(_request())
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    time.sleep(0.1)
    stream.close()
    thread.join(10)
    assert not thread.is_alive() and counter.cancelled == 1
