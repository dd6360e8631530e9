"""Two servers that count together in a real Redis. Without `redis-server` on PATH these are skipped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bezel.errors import InvalidRequestError, MissingExtraError
from bezel.service import redis_windows
from bezel.service.limits import Limits
from bezel.service.redis_windows import RedisWindows
from bezel.service.settings import ServerSettings
from bezel.service.windows import MINUTE, Memory, Store, Taken, Window
from bezel.testing import CounterBackend
from tests.service.live import CHAT, Live, wait_until

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


class Redis:
    """A server of its own in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "no"]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(lambda: self.say("PING") == "+PONG")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()

    def say(self, command: str) -> str:
        """The first line that Redis answers, "" where it does not."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.sendall(command.encode() + b"\r\n")
                return connection.makefile().readline().strip()
        except OSError:
            return ""


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """Waited for patiently, so that a busy machine decides nothing."""
    monkeypatch.setattr(redis_windows, "_SECONDS", 60.0)
    folder = tmp_path / "redis"
    folder.mkdir()
    found = Redis(folder)
    yield found
    found.stop()


@pytest.fixture
def early() -> None:
    """A moment from which much of the minute is left, so that all of a test is counted in one."""
    if time.time() % MINUTE > MINUTE - 15:
        time.sleep(MINUTE - time.time() % MINUTE + 0.01)


def together(replicas: list[Live], count: int, headers: dict[str, str], **fields: Any) -> list[httpx.Response]:
    """Requests that race, on all replicas in turn."""

    async def run() -> list[httpx.Response]:
        free = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=free, trust_env=False, headers=headers) as client:
            urls = [f"{replicas[number % len(replicas)].url}/v1/chat/completions" for number in range(count)]
            return await asyncio.gather(*(client.post(url, json={**CHAT, **fields}) for url in urls))

    return asyncio.run(run())


@needs_redis
@pytest.mark.usefixtures("early")
def test_requests_of_a_key_are_counted_exactly_across_replicas(start: Callable[..., Live], redis: Redis) -> None:
    replicas = [start(rate_limit=50, limits_url=f"async+{redis.url}", max_num_seqs=16) for _ in range(2)]
    answers = together(replicas, 120, replicas[0].key("generate"))
    assert sorted({answer.status_code for answer in answers}) == [200, 429]
    assert sum(answer.status_code == 200 for answer in answers) == 50
    remaining = {int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers}
    assert remaining == set(range(50)), "each saw another count"
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert replicas[1].chat(replicas[1].key("generate")).status_code == 200, "another key has counts of its own"


@needs_redis
@pytest.mark.usefixtures("early")
def test_racing_requests_never_overshoot_a_budget_and_give_back_what_they_did_not_use(
    start: Callable[..., Live], redis: Redis
) -> None:
    gate = threading.Event()
    options = {"limits_url": f"async+{redis.url}", "token_limit": 1000, "rate_limit": 0, "max_num_seqs": 64}
    replicas = [start(backends={"counter": CounterBackend(gate=gate)}, **options) for _ in range(2)]
    headers = replicas[0].key("generate")
    identity = replicas[0].server.keys.list()[-1].id  # type: ignore[union-attr]

    def count() -> int:
        return int(redis.say(f"EVAL \"return tonumber(redis.call('HGET', KEYS[1], 'now'))\" 1 {_name(identity)}")[1:])

    def opening() -> None:
        wait_until(lambda: sum(live.log_text.getvalue().count("\n") for live in replicas) == 167, 120)
        assert sum(live.lanes().running for live in replicas) == 33
        assert count() == 990, "3 of the prompt and 27 at most, 33 times"
        gate.set()

    with ThreadPoolExecutor() as pool:
        opened = pool.submit(opening)
        answers = together(replicas, 200, headers, max_tokens=27)
        opened.result()
    assert sum(answer.status_code == 200 for answer in answers) == 33
    assert sum(answer.status_code == 429 for answer in answers) == 167
    wait_until(lambda: sum(live.lanes().running for live in replicas) == 0)
    wait_until(lambda: count() == 33 * (3 + 5))


def _name(identity: str) -> str:
    return f"bezel:window:tokens:{identity}"


@needs_redis
def test_without_its_redis_a_server_refuses_and_says_why(start: Callable[..., Live], redis: Redis) -> None:
    counter = CounterBackend(count=20, delay=0.05)
    live = start(backends={"counter": counter}, limits_url=f"async+{redis.url}", token_limit=10_000)
    with live.client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
        lines = response.iter_lines()
        next(lines)
        redis.stop()
        assert list(lines)[-2] == "data: [DONE]", "what has begun is finished"
    wait_until(lambda: live.server.limits.unsettled > 0)
    (line,) = [line for line in live.client.get("/metrics").text.splitlines() if line.startswith("bezel_limits_uns")]
    assert float(line.split()[1]) == live.server.limits.unsettled, "who watches is answered"
    refused = live.chat()
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "limits_unavailable"
    assert refused.headers["retry-after"] == "1" and counter.running == 0
    assert live.client.get("/health").status_code == 200
    redis.start()
    assert live.chat().status_code == 200


@needs_redis
def test_a_redis_that_says_nothing_is_not_waited_for(
    start: Callable[..., Live], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_windows, "_SECONDS", 0.2)
    live = start(limits_url=f"async+{redis.url}")
    assert live.chat().status_code == 200
    os.kill(redis.process.pid, signal.SIGSTOP)
    refused = live.chat()
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "limits_unavailable"


async def _story(store: Store) -> list[tuple[Taken, ...]]:
    """What a store says to the same wishes; how much of the minute is left is each clock's own."""
    one = [await store.take("a", 10, cost) for cost in (4, 0, 7, 6, 1)]
    minute = one[-1].minute
    await store.give_back("a", minute - 1, 5)
    two = [await store.take("a", 10, 1)]
    await store.give_back("a", minute, 3)
    await store.give_back("unheard of", minute, 3)
    two += [await store.take("a", 10, cost) for cost in (4, 3)]
    two.append(await store.take("unheard of", 2, 2))
    return [(Taken(t.allowed, Window(10, t.window.before, t.window.now, 0.0), t.minute),) for t in (*one, *two)]


@needs_redis
@pytest.mark.usefixtures("early")
def test_redis_counts_as_memory_does(redis: Redis) -> None:
    async def run() -> None:
        shared = RedisWindows(redis.url)
        try:
            assert await _story(shared) == await _story(Memory())
            minute = int(time.time() // MINUTE)
            for ago, before in ((1, 6), (2, 0)):
                redis.say(f"HSET bezel:window:old minute {minute - ago} now 6 before 99")
                taken = await shared.take("old", 100, 1)
                assert (taken.window.before, taken.window.now) == (before, 1)
        finally:
            await shared.close()

    asyncio.run(run())


def test_memory_forgets_what_no_window_weighs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    store = Memory()

    async def run() -> None:
        await store.take("old", 10, 6)
        now[0] = 90.0
        await store.take("new", 10, 1)
        taken = await store.take("old", 10, 1)
        assert (taken.window.before, taken.window.now, taken.minute) == (6, 1, 1)
        now[0] = 240.0
        await store.take("new", 10, 1)
        assert list(store._counts) == ["new"]

    asyncio.run(run())


def test_an_address_that_is_none_and_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequestError, match="limits_url"):
        Limits(ServerSettings(limits_url="async+redis://host:port"))
    monkeypatch.delitem(sys.modules, "bezel.service.redis_windows")
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(MissingExtraError, match=r"bezel\[redis\]"):
        Limits(ServerSettings(limits_url="async+redis://localhost:1"))
