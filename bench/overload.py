"""What a server does when ten times more is asked of it than it can do.

    python -m bench.overload [--lanes 16] [--queue 16] [--times 10] [--seconds 20]

The server counts (bench/load/counting.py), in a process of its own, without a model. First its capacity: as many
clients as there are lanes, each asking again at once. Then requests that come at random moments (Poisson), as many a
second as the capacity, and `--times` as many. Prints a table and a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.load.processes import counting
from bench.load.reading import Answer, ask, percentile

BODY = {"model": "counter", "stream": True, "messages": [{"role": "user", "content": "one two three"}]}


@dataclass(frozen=True)
class Found:
    """Of one rate of arrivals: requests a second, how many came, and seconds."""

    rate: float
    answers: Sequence[Answer]

    @property
    def first(self) -> list[float]:
        """Times to the first token of those that were admitted."""
        return [answer.first - answer.began for answer in self.answers if answer.whole and answer.first]

    @property
    def refused(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status in (429, 503)]

    def row(self, name: str) -> str:
        """A line of the table."""
        waits = [1000 * (answer.ended - answer.began) for answer in self.refused]
        told = sum("retry-after" in answer.headers for answer in self.refused)
        cells = [f"{self.rate:.0f}", str(len(self.answers)), str(len(self.first)), f"{percentile(self.first, 0.5):.3f}"]
        cells += [f"{percentile(self.first, 0.99):.3f}", str(len(waits)), str(told)]
        cells += [f"{percentile(waits, 0.5):.1f}", f"{percentile(waits, 0.99):.1f}"]
        return f"| {name} | " + " | ".join(cells) + " |"


async def capacity(port: int, clients: int, seconds: float) -> float:
    """Requests a second that are answered while every lane is taken and nobody waits."""
    done, ends = 0, time.perf_counter() + seconds

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await ask(port, BODY)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (time.perf_counter() - began)


async def offered(port: int, rate: float, seconds: float, seed: int) -> Found:
    """Requests that come at `rate` a second, whatever becomes of those before."""
    moments, now, dice = [], 0.0, random.Random(seed)
    while (now := now + dice.expovariate(rate)) < seconds:
        moments.append(now)
    began, tasks = time.perf_counter(), []
    for moment in moments:
        await asyncio.sleep(max(0.0, began + moment - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(port, BODY)))
    return Found(rate, await asyncio.gather(*tasks))


async def measure(port: int, lanes: int, times: float, seconds: float) -> tuple[Found, Found]:
    """What comes of arrivals at the capacity, and of `times` as many."""
    rate = await capacity(port, lanes, seconds / 2)
    return await offered(port, rate, seconds, 1), await offered(port, times * rate, seconds, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--queue", type=int, default=16)
    parser.add_argument("--times", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--tokens", type=int, default=20, help="of an answer")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before every token")
    options = parser.parse_args()
    server = {"max_num_seqs": options.lanes, "max_queue": options.queue}
    with counting(count=options.tokens, delay=options.delay, **server) as running:
        full, over = asyncio.run(measure(running.port, options.lanes, options.times, options.seconds))
    heads = ["arrivals", "a second", "came", "answered", "first token p50 (s)", "p99", "refused", "with Retry-After"]
    print("| " + " | ".join([*heads, "refusal p50 (ms)", "p99"]) + " |\n|" + "---|" * (len(heads) + 2))
    print(full.row("capacity"))
    print(over.row(f"{options.times:g} times"))
    ratio = percentile(over.first, 0.99) / percentile(full.first, 0.99)
    print(f"First token at p99, {options.times:g} times over capacity: {ratio:.2f}")
    print(json.dumps({"lanes": options.lanes, "queue": options.queue, "capacity": full.rate, "p99_ratio": ratio}))


if __name__ == "__main__":
    main()
