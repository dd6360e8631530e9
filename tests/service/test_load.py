"""The load harnesses of bench/, small. `BEZEL_STREAMS=1` runs 500 streams for five minutes, and weighs them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from bench.load.reading import ask, percentile
from bench.streams import BODY, run
from bezel.testing import CounterBackend
from tests.service.live import Live, wait_until

_LONG = bool(os.environ.get("BEZEL_STREAMS"))


def test_many_streams_and_slow_readers_lose_repeat_and_reorder_nothing() -> None:
    streams, slow, tokens, delay = (500, 50, 600, 0.5) if _LONG else (60, 6, 300, 0.0)
    found = run(streams, slow, tokens, delay, arrivals=100.0)
    assert found.wrong == 0
    assert found.held_back > 60, "the slow readers were slow"
    if _LONG:
        assert found.stream < 64 * 1024, f"{found.stream / 1024:.1f} KiB a stream"


def test_ten_times_too_many_are_refused_with_a_time_and_the_queue_stays_bounded(start: Callable[..., Live]) -> None:
    gate, lanes, queue = threading.Event(), 4, 8
    counter = CounterBackend(count=3, gate=gate)
    live = start(backends={"counter": counter}, no_auth=True, rate_limit=0, max_num_seqs=lanes, max_queue=queue)
    most: list[int] = []

    async def overload() -> list[int]:
        tasks = [asyncio.create_task(ask(live.port, BODY)) for _ in range(10 * (lanes + queue))]
        while sum(task.done() for task in tasks) < 9 * (lanes + queue):
            most.append(live.lanes().waiting)
            await asyncio.sleep(0.005)
        gate.set()
        answers = await asyncio.gather(*tasks)
        assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status == 503)
        assert all(a.whole and a.text == "1 2 3" for a in answers if a.status == 200)
        return [answer.status for answer in answers]

    statuses = asyncio.run(asyncio.wait_for(overload(), 120))
    assert (statuses.count(200), statuses.count(503)) == (lanes + queue, 9 * (lanes + queue))
    assert max(most) == queue
    wait_until(lambda: live.lanes().running == 0)


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([3.0], 0.99)) == (50.0, 99.0, 3.0)
