"""Tokens a second, and processor time of a token, of tiny with its engine here and in a process of its own.

    python -m bench.engine_process own|child STREAMS

Prints the medians of three rounds of 200 tokens a stream, drafts off.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from pathlib import Path

from bezel.backends.child.backend import ChildBackend, open_child
from bezel.backends.interface import Request
from bezel.backends.native import NativeBackend
from bezel.generation.sampling import Sampling

TOKENS, ROUNDS = 200, 3


def request(number: int) -> Request:
    """An answer that does not end by itself."""
    never = {token: -100.0 for token in (1, 5, 106)}
    return Request(
        prompt=f"word {number} " * 5,
        max_tokens=TOKENS,
        sampling=Sampling(seed=number, logit_bias=never),
        speculation="off",
    )


def processor_seconds(process_id: int | None) -> float:
    """Of this process, and of another."""
    own = sum(os.times()[:2])
    if process_id is None:
        return own
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return own + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(backend: NativeBackend | ChildBackend, streams: int) -> tuple[float, float]:
    """Tokens a second, microseconds of processor time a token."""
    process_id = backend.process_id if isinstance(backend, ChildBackend) else None
    readers = [threading.Thread(target=lambda n=n: list(backend.stream(request(n)))) for n in range(streams)]
    began, used = time.perf_counter(), processor_seconds(process_id)
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    tokens = TOKENS * streams
    return tokens / (time.perf_counter() - began), 1e6 * (processor_seconds(process_id) - used) / tokens


def main(kind: str, streams: int) -> None:
    """Measure one of both."""
    backend = open_child(model="tiny", threads=1) if kind == "child" else NativeBackend.load("tiny", threads=1)
    measured(backend, streams)
    rounds = [measured(backend, streams) for _ in range(ROUNDS)]
    speed, cost = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"{kind}, {streams} streams: {speed:.0f} tokens/s, {cost:.0f} us of processor time a token")
    if isinstance(backend, ChildBackend):
        backend.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
