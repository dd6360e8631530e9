"""A server that is told to end finishes what it has begun, and takes nothing new."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from bench.load.reading import Answer, ask
from bench.streams import BODY
from bezel.testing import CounterBackend
from tests.service.live import Live


class Gate(threading.Event):
    """Lets three tokens through before it is opened."""

    passed = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.passed += 1
        return self.passed <= 3 or super().wait(timeout)


async def _refused(port: int) -> None:
    """Wait until nobody listens any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # it was still in the queue of a socket that then closed; the next is refused
        writer.close()
        await asyncio.sleep(0.01)


def test_streams_and_who_waits_are_answered_while_nobody_new_is_let_in(start: Callable[..., Live]) -> None:
    gate = Gate()
    live = start(backends={"counter": CounterBackend(count=30, gate=gate)}, no_auth=True, max_num_seqs=1)

    async def run() -> None:
        answers = [Answer(0.0), Answer(0.0)]
        tasks = [asyncio.create_task(ask(live.port, BODY, answer=answer)) for answer in answers]
        while not (any(answer.first for answer in answers) and live.lanes().waiting):
            await asyncio.sleep(0.01)
        live.leave()
        await _refused(live.port)
        assert not any(answer.whole for answer in answers)
        gate.set()
        await asyncio.gather(*tasks)
        expected = " ".join(map(str, range(1, 31)))
        assert [(answer.whole, answer.text) for answer in answers] == [(True, expected)] * 2

    asyncio.run(asyncio.wait_for(run(), 120))
    live.stop()
    assert live.server.pool._shutdown, "all is let go of"
