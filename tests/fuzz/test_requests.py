"""Strange requests to a live server: no failure of ours, no connection that hangs, no memory that is lost.

BEZEL_REQUESTS asks for more than CI does, such as 100000; then memory is watched closely, and the figures printed.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.server_life import Process
from tests.fuzz.strange_requests import Strange
from tests.fuzz.wire import Asked, Wire

REQUESTS = int(os.environ.get("BEZEL_REQUESTS", "1200"))
SEED = int(os.environ.get("BEZEL_REQUESTS_SEED", "1"))
DELIBERATE = (503, 507)
ALLOWED = (16 if REQUESTS >= 20_000 else 96) << 20
"""Bytes by which the server may grow once it has seen a fifth of the requests."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


def test_strange_requests(tmp_path: Path) -> None:
    process = Process(tmp_path)
    wire, strange = Wire(process.port), Strange(SEED, process.secret)
    statuses: Counter[int] = Counter()
    held: list[int] = []
    try:
        for number in range(REQUESTS):
            asked = strange.request()
            answered = wire.ask(asked)
            statuses[answered.status] += 1
            if answered.status >= 500:
                assert answered.status in DELIBERATE, (number, asked.data[:500], answered.body[:300])
            if answered.ours and answered.status >= 400 and asked.method != "HEAD":
                error = json.loads(answered.body)["error"]
                assert set(error) == {"message", "type", "param", "code", "request_id"}, (number, error)
            if (number + 1) % max(1, REQUESTS // 10) == 0:
                held.append(process.resident())
        assert process.alive
        assert {200, 400, 401, 404, 405, 413, 415, 421} <= set(statuses), statuses
        wire.close()
        numbers = wire.ask(_asked("GET", "/metrics", process.secret)).body.decode()
        assert 'bezel_num_requests_running{model_name="counter"} 0.0' in numbers, numbers[:500]
        chat = json.dumps({"model": "counter", "messages": [{"role": "user", "content": "a"}]}).encode()
        assert wire.ask(_asked("POST", "/v1/chat/completions", process.secret, chat)).status == 200
        megabytes = [round(bytes_ / 1e6, 1) for bytes_ in held]
        print(f"{REQUESTS} requests: {dict(sorted(statuses.items()))}; resident MB {megabytes}", file=sys.stderr)
        assert max(held[2:]) - held[1] < ALLOWED, megabytes
    finally:
        wire.close()
        process.stop()


def _asked(method: str, path: str, secret: str, body: bytes = b"") -> Asked:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return Asked(head.encode() + body, method)
