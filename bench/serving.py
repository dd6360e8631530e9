"""`bezel serve` and llama.cpp's server on the same GGUF: many chats at once, in turns, in one run.

    python -m bench.serving FILE.gguf --llama-server BINARY [--chats 16] [--rounds 3] [--new-tokens 128]

Every turn is a server of its own that is started, warmed by one chat, asked all chats at once, and ended. Decode is
what all chats get while all are being written: pieces of text between the last one's first and the first one's end,
over that time. "First to last" is the tokens behind each chat's first, over the time from the first of all to the end
of the last, in which prompts are still read too; "all" counts every token from when the chats were sent. Both are
asked greedily, and not to end before the last token. Prints medians over rounds with their ratio, the first token's
p99 over all chats of all rounds, and a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load.processes import process
from bench.load.reading import Answer, ask, percentile

_START_SECONDS = 300.0
_ENDS = (1, 106)
"""Gemma's <eos> and <end_of_turn>."""


@dataclass(frozen=True)
class Server:
    """How one is started on a port; `name` stands in the table."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]


def servers(options: argparse.Namespace) -> list[Server]:
    """The two, with as many lanes as there are chats."""
    file, threads, chats = str(options.file), str(options.threads), options.chats
    ours = [sys.executable, "-m", "bezel.cli", "serve", file, "--no-auth", "--max-num-seqs", str(chats)]
    ours += ["--threads", threads, "--context", str(options.context), "--rate-limit", "0"]
    theirs = [str(options.llama_server), "-m", file, "--parallel", str(chats), "-t", threads]
    theirs += ["-c", str(options.context * chats), "--host", "127.0.0.1", *options.llama_options]
    libraries = {"LD_LIBRARY_PATH": str(options.llama_server.parent)}
    return [Server("bezel", ours, {}), Server("llama.cpp", theirs, libraries)]


@dataclass(frozen=True)
class Turn:
    """What came of all chats of a turn."""

    began: float
    answers: Sequence[Answer]

    @property
    def first(self) -> list[float]:
        """Seconds to the first token of each."""
        return [(answer.first or answer.ended) - answer.began for answer in self.answers]

    @property
    def decode(self) -> float:
        """Pieces a second while all chats are being written."""
        began = max(answer.times[0] for answer in self.answers)
        ended = min(answer.times[-1] for answer in self.answers)
        if ended <= began:
            raise SystemExit("never were all chats written at once; ask for more --new-tokens")
        return sum(began < time <= ended for answer in self.answers for time in answer.times) / (ended - began)

    @property
    def first_to_last(self) -> float:
        """Tokens a second behind the first of each."""
        first = min(answer.first or answer.ended for answer in self.answers)
        return sum(answer.completion_tokens - 1 for answer in self.answers) / (self._ended - first)

    @property
    def all(self) -> float:
        """Tokens a second since the chats were sent."""
        return sum(answer.completion_tokens for answer in self.answers) / (self._ended - self.began)

    @property
    def _ended(self) -> float:
        return max(answer.ended for answer in self.answers)


def body(model: str, words: int, number: int, new_tokens: int) -> dict[str, Any]:
    """A chat that begins like no other, so that nothing of it is in a cache."""
    text = f"{number} " + " ".join(f"river {number * 31 + word}" for word in range(words // 4))
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"{text}. Name what these have in common."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": new_tokens,
        "logit_bias": {str(token): -100 for token in _ENDS},
    }


async def chats(port: int, bodies: Sequence[dict[str, Any]]) -> Turn:
    """All at once. SystemExit where one is not answered."""
    began = time.perf_counter()
    answers = await asyncio.gather(*(ask(port, each) for each in bodies))
    for answer in answers:
        if not answer.whole:
            raise SystemExit(f"a chat was answered with {answer.status}: {answer.body[:500]!r}")
    return Turn(began, answers)


def turn(server: Server, options: argparse.Namespace, number: int) -> Turn:
    """Start a server, ask it, end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | server.environment
    with process([*server.command, "--port", str(port)], env=environment, **silent) as started:
        _ready(started, port)
        bodies = [body(str(options.file), options.words, number + place, options.new_tokens) for place in range(99)]
        asyncio.run(chats(port, [{**bodies[-1], "max_tokens": 4}]))
        return asyncio.run(chats(port, bodies[: options.chats]))


def _ready(started: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if started.poll() is not None:
            raise SystemExit(f"{' '.join(map(str, started.args))} ended with {started.returncode}")  # type: ignore[arg-type]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise SystemExit("the server did not start in time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--llama-options", type=shlex.split, default=[], help="--llama-options='-ub 256'")
    parser.add_argument("--chats", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--words", type=int, default=64, help="about so many tokens has a prompt")
    parser.add_argument("--context", type=int, default=1024, help="tokens of each chat")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    found: dict[str, list[Turn]] = {server.name: [] for server in servers(options)}
    for number in range(options.rounds):
        for server in servers(options):
            found[server.name].append(turn(server, options, 100 * number))
            last = found[server.name][-1]
            print(f"{server.name}: {last.decode:.1f} tokens/s, first token {max(last.first):.2f} s", file=sys.stderr)
    ours, theirs = found.values()
    print("| 16 chats | ".replace("16", str(options.chats)) + " | ".join(found) + " | ratio |\n|---|---|---|---|")
    rows = {
        "decode (tokens/s)": [[turn.decode for turn in turns] for turns in (ours, theirs)],
        "first to last (tokens/s)": [[turn.first_to_last for turn in turns] for turns in (ours, theirs)],
        "all (tokens/s)": [[turn.all for turn in turns] for turns in (ours, theirs)],
    }
    for name, (one, two) in rows.items():
        ratio = statistics.median(a / b for a, b in zip(one, two, strict=True))
        print(f"| {name} | {statistics.median(one):.1f} | {statistics.median(two):.1f} | {ratio:.2f} |")
    late = [percentile([first for turn in turns for first in turn.first], 0.99) for turns in (ours, theirs)]
    print(f"| first token, p99 (s) | {late[0]:.2f} | {late[1]:.2f} | {late[0] / late[1]:.2f} |")
    results = {
        name: {kind: [getattr(turn, kind) for turn in turns] for kind in ("decode", "first_to_last", "all")}
        for name, turns in found.items()
    }
    print(json.dumps({"file": options.file.name, "threads": options.threads, "first_p99": late, "results": results}))


if __name__ == "__main__":
    main()
