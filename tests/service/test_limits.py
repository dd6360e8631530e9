"""Requests and tokens a minute: refused beyond, reserved before, settled after, never overshot."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator

import pytest

import bezel
from bezel.backends.interface import Request
from bezel.errors import InvalidRequestError, UnsupportedInputError
from bezel.service.bounds import most_prompt_tokens
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange
from bezel.service.limits import Limits, Reservation
from bezel.service.settings import ServerSettings
from bezel.service.windows import Window
from bezel.testing import CounterBackend
from tests.service.live import Live, wait_until

NOON = 1_700_000_000.0 - 1_700_000_000.0 % 60


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds after a full minute, as `limits` and the server see them."""
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: NOON + now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now


def refused(limits: Limits, exchange: Exchange) -> str | None:
    """The wait where a request is refused."""
    try:
        asyncio.run(limits.request(exchange))
    except ApiError as error:
        return error.headers["retry-after"]
    return None


def test_the_window_slides(clock: list[float]) -> None:
    limits, exchange = Limits(ServerSettings(rate_limit=4)), Exchange("id", "GET", client="1.2.3.4")
    assert [refused(limits, exchange) for _ in range(4)] == [None] * 4
    assert exchange.headers["x-ratelimit-remaining-requests"] == "0"
    wait = refused(limits, exchange)
    assert wait is not None
    clock[0] += float(wait) - 1
    assert refused(limits, exchange) is not None, "a second sooner than told"
    clock[0] += 1
    assert refused(limits, exchange) is None, "at the time that was told"
    assert refused(limits, exchange) is not None
    other = Exchange("id", "GET", client="1.2.3.5")
    assert refused(limits, other) is None


@pytest.mark.parametrize("cost", [1, 3, 10])
@pytest.mark.parametrize("before", [0, 4, 10])
@pytest.mark.parametrize("now", [0, 2, 10])
@pytest.mark.parametrize("left", [0.5, 20.0, 59.0])
def test_the_wait_is_the_shortest_that_is_enough(cost: int, before: int, now: int, left: float) -> None:
    wait = Window(10, before, now, left).wait(cost)

    def taken(later: float) -> float:
        """The weighted count of both minutes, by definition."""
        if later < left:
            return before * (left - later) / 60 + now
        return now * max(0.0, 60 - (later - left)) / 60

    assert math.floor(taken(wait + 1e-6)) + cost <= 10
    assert wait == 0 or math.floor(taken(wait - 1e-6)) + cost > 10


def test_what_was_not_used_is_given_back(clock: list[float]) -> None:
    limits, exchange = Limits(ServerSettings(token_limit=100)), Exchange("id", "POST")

    async def run() -> None:
        reservation = await limits.reserve(exchange, 80, 10)
        with pytest.raises(ApiError) as failure:
            await limits.reserve(exchange, 30, 10)
        assert failure.value.name == "tokens" and int(failure.value.headers["retry-after"]) >= 1
        await limits.settle(reservation, 30)
        await limits.reserve(exchange, 70, 10)
        with pytest.raises(ApiError):
            await limits.reserve(exchange, 1, 1)

    asyncio.run(run())


def test_a_later_minute_gets_no_credit(clock: list[float]) -> None:
    limits, exchange = Limits(ServerSettings(token_limit=100)), Exchange("id", "POST")

    async def run() -> None:
        reservation = await limits.reserve(exchange, 100, 10)
        clock[0] += 90
        await limits.settle(reservation, 0)
        await limits.reserve(exchange, 50, 10)
        with pytest.raises(ApiError):
            await limits.reserve(exchange, 10, 1)

    asyncio.run(run())


def test_more_than_the_whole_limit_is_told_so() -> None:
    limits = Limits(ServerSettings(token_limit=100))
    with pytest.raises(ApiError) as failure:
        asyncio.run(limits.reserve(Exchange("id", "POST"), 101, 1))
    assert "ask for fewer" in failure.value.detail
    assert asyncio.run(Limits(ServerSettings()).reserve(Exchange("id", "POST"), 101, 1)) == Reservation()


def test_racing_requests_never_overshoot() -> None:
    limits, exchange = Limits(ServerSettings(token_limit=1000)), Exchange("id", "POST")

    async def one() -> int:
        try:
            await limits.reserve(exchange, 30, 1)
        except ApiError:
            return 0
        return 30

    async def run() -> list[int]:
        return await asyncio.gather(*(one() for _ in range(200)))

    # A minute may end in between; then a part of the next is allowed too, and of the first all that still weighs.
    assert sum(asyncio.run(run())) in (990, 1020)


@pytest.mark.parametrize("url", ["", "nonsense", "memory://", "async+redis://", "ftp://host"])
def test_a_store_that_is_none_is_explained(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="limits_url"):
        Limits(ServerSettings(limits_url=url))


def test_over_http(start: Callable[..., Live]) -> None:
    live = start(rate_limit=1000, token_limit=5000)
    generous, strict = live.key("generate", rate_limit=0, token_limit=0), live.key("generate", rate_limit=2)
    assert "x-ratelimit-limit-requests" not in live.chat(generous).headers
    first = live.chat(strict, max_tokens=10)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-tokens"] == str(5000 - 13)
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    live.chat(strict, max_tokens=10)
    third = live.chat(strict, max_tokens=10)
    assert third.status_code == 429 and third.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    assert 1 <= int(third.headers["retry-after"]) <= 120
    for _ in range(5):
        assert live.client.get("/health", headers={"authorization": ""}).status_code == 200
    once = start(rate_limit=1)
    assert [once.client.get("/health").status_code for _ in range(3)] == [200] * 3


def test_a_budget_is_charged_what_was_used(start: Callable[..., Live]) -> None:
    live = start(token_limit=100)
    headers = live.key("generate")
    for _ in range(5):  # 3 + 5 each, of 63 that are reserved
        assert live.chat(headers, max_tokens=60).status_code == 200
    refused = live.chat(headers, max_tokens=60)
    assert refused.status_code == 429 and "this may take 63" in refused.json()["error"]["message"]
    assert live.chat(headers, max_tokens=40).status_code == 200
    assert live.chat(live.key("generate"), max_tokens=200).status_code == 429
    assert "may take 123" in live.chat(live.key("generate"), max_tokens=60, n=2).json()["error"]["message"]
    assert "may take 4096" in live.chat(live.key("generate")).json()["error"]["message"], "all of the context"
    assert live.counter.running == 0


def test_what_is_broken_off_is_charged_what_it_had(start: Callable[..., Live]) -> None:
    counter = CounterBackend(count=1000, delay=0.01)
    live = start(backends={"counter": counter}, token_limit=2000)
    with live.client.stream("POST", "/v1/chat/completions", json={**_long(), "stream": True}) as response:
        next(response.iter_raw())
    wait_until(lambda: counter.running == 0)
    live.log(1)
    after = live.chat(max_tokens=1)
    remaining = int(after.headers["x-ratelimit-remaining-tokens"])
    assert 1500 < remaining < 2000 - 3


class Silent(CounterBackend):
    """An engine elsewhere: it says how many tokens it has read, afterwards."""

    def prompt_ids(self, request: Request) -> list[int]:
        raise UnsupportedInputError("an endpoint keeps them to itself")


def test_where_an_engine_does_not_count_the_most_is_reserved_and_what_it_says_is_charged(
    start: Callable[..., Live],
) -> None:
    live = start(backends={"counter": Silent(count=5)}, token_limit=1000)
    headers = live.key("generate")
    said = len(json.dumps([[{"role": "user", "content": "one two three"}], []]))
    refused = live.chat(headers, max_tokens=1000)
    assert f"may take {said + 2 * 16 + 1000}" in refused.json()["error"]["message"]
    for number in range(1, 4):
        answer = live.chat(headers, max_tokens=5)
        assert answer.headers["x-ratelimit-remaining-tokens"] == str(1000 - 8 * (number - 1) - said - 2 * 16 - 5)
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    assert live.chat(headers, messages=[{"role": "user", "content": picture}]).status_code == 400


@pytest.mark.parametrize("text", ["a", "ü", "日本語のテキスト", "🙂" * 9, '"' * 40, "\n" * 40, "\x00"])
def test_no_prompt_has_more_tokens_than_its_bound(text: str) -> None:
    model = bezel.load("tiny")
    tools = [{"type": "function", "function": {"name": "f", "description": text, "parameters": {"type": "object"}}}]
    messages = [{"role": "system", "content": text}, {"role": "user", "content": [{"type": "text", "text": text}] * 3}]
    for request in (Request(messages), Request(messages, tools=tools), Request(prompt=text), Request(prompt=[5, 6])):
        bound = most_prompt_tokens(request)
        assert bound is not None and len(model._backend.prompt_ids(request)) <= bound


def _long() -> dict[str, object]:
    return {"model": "counter", "messages": [{"role": "user", "content": "a b c"}], "max_tokens": 1000}
