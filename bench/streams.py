"""Many streams at once, some of them read slowly: does any lose, repeat or reorder a token, and what does one cost?

    python -m bench.streams [--streams 500] [--slow 50] [--seconds 300] [--tokens-per-second 2]

The server counts (bench/load/counting.py), in a process of its own. A stream's memory is what that process holds more
with all streams than before them, over their number. Prints a line and one of JSON; the exit status is 1 where a stream
came wrong. Slow readers take 256 bytes a second until all others have ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass

from bench.load.processes import Running, counting
from bench.load.reading import Answer, Pace, ask

BODY = {"model": "counter", "stream": True, "messages": [{"role": "user", "content": "one two three"}]}
SLOW = {**BODY, "logprobs": True, "top_logprobs": 2}
"""What slow readers ask, so that there is much to read."""
_SEND_BUFFER = 4096


@dataclass(frozen=True)
class Found:
    """`wrong` streams are those whose answer is not 1 2 3 ...; memory in bytes."""

    streams: int
    slow: int
    tokens: int
    seconds: float
    wrong: int
    held_back: int
    """How many tokens the furthest slow reader was behind at most, when the others had ended."""
    before: int
    most: int

    @property
    def stream(self) -> float:
        """Bytes of memory of a stream."""
        return (self.most - self.before) / self.streams


async def measure(server: Running, streams: int, slow: int, tokens: int, arrivals: float) -> Found:
    """`streams` at once, of `tokens` each, of which `slow` are read slowly; `arrivals` a second."""
    await ask(server.port, {**BODY, "max_tokens": 1})
    before, began = server.resident, time.perf_counter()
    hurry = asyncio.Event()
    answers = [Answer(0.0) for _ in range(streams)]
    paces = [Pace(256, 1.0, hurry) if number < slow else None for number in range(streams)]
    tasks = []
    for each in zip(paces, answers, strict=True):
        tasks.append(asyncio.create_task(ask(server.port, SLOW if each[0] else BODY, *each)))
        await asyncio.sleep(1 / arrivals)
    most, watching = before, asyncio.gather(*tasks[slow:])
    while not watching.done():
        await asyncio.wait({watching}, timeout=0.25)
        if all(answer.first for answer in answers):
            most = max(most, server.resident)
    behind = max((tokens - answer.tokens for answer in answers[:slow]), default=0)
    hurry.set()
    await asyncio.gather(*tasks)
    expected = " ".join(map(str, range(1, tokens + 1)))
    wrong = sum(not (answer.whole and answer.text == expected) for answer in answers)
    return Found(streams, slow, tokens, time.perf_counter() - began, wrong, behind, before, most)


def run(streams: int, slow: int, tokens: int, delay: float, arrivals: float) -> Found:
    """`measure` with a server of its own, whose streams wait `delay` seconds before every token."""
    with counting(count=tokens, delay=delay, max_num_seqs=streams, send_buffer=_SEND_BUFFER) as server:
        return asyncio.run(measure(server, streams, slow, tokens, arrivals))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--arrivals", type=float, default=100.0, help="streams that begin in a second")
    parser.add_argument("--tokens-per-second", type=float, default=2.0, help="of each stream")
    options = parser.parse_args()
    tokens = round(options.seconds * options.tokens_per_second)
    found = run(options.streams, options.slow, tokens, 1 / options.tokens_per_second, options.arrivals)
    print(
        f"{found.streams} streams of {tokens} tokens, {found.slow} read slowly (up to {found.held_back} tokens "
        f"behind), {found.seconds:.0f} s: {found.wrong} wrong, {found.stream / 1024:.1f} KiB a stream "
        f"({found.before / 2**20:.1f} MiB before, {found.most / 2**20:.1f} at most)"
    )
    print(json.dumps(asdict(found)))
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
