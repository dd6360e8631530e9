"""A client of streams that costs little, so that many fit beside the server that they measure."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import h11

PATH = "/v1/chat/completions"


@dataclass
class Answer:
    """What came of one request; times are of `time.perf_counter`."""

    began: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    """Content of all chunks, in their order."""
    body: bytes = b""
    """Where the answer was no stream."""
    first: float | None = None
    """When the first content came."""
    ended: float = 0.0
    tokens: int = 0
    """Chunks that had content."""
    times: list[float] = field(default_factory=list)
    """When each of them came."""
    completion_tokens: int = 0
    """As the server counts them, where it was asked to."""
    whole: bool = False
    """Whether the stream ended as it should."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else float("nan")


async def ask(port: int, body: dict[str, Any], pace: Pace | None = None, answer: Answer | None = None) -> Answer:
    """Send a chat and read all that comes."""
    answer = answer or Answer(time.perf_counter())
    connection = h11.Connection(h11.CLIENT)
    content = json.dumps(body).encode()
    headers = {"host": "localhost", "content-type": "application/json", "content-length": str(len(content))}
    request = h11.Request(method="POST", target=PATH, headers=list(headers.items()))
    reader, writer = await _connected(port, small=pace is not None)
    try:
        writer.write(connection.send(request) + connection.send(h11.Data(data=content)))
        connection.send(h11.EndOfMessage())
        pending = b""
        async for event in _events(connection, reader, pace):
            if isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                if answer.status != 200:
                    answer.body += bytes(event.data)
                    continue
                *lines, pending = (pending + bytes(event.data)).split(b"\n\n")
                for line in lines:
                    _take(answer, line)
        answer.ended = time.perf_counter()
        return answer
    finally:
        writer.close()


@dataclass
class Pace:
    """A slow reader: it takes `size` bytes every `seconds`, until `hurry` is set."""

    size: int
    seconds: float
    hurry: asyncio.Event


async def _connected(port: int, small: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connection = socket.socket()
    if small:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=connection, limit=1024 if small else 2**16)


async def _events(connection: h11.Connection, reader: asyncio.StreamReader, pace: Pace | None) -> AsyncIterator[Any]:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if pace is not None and not pace.hurry.is_set():
                await asyncio.sleep(pace.seconds)
                connection.receive_data(await reader.read(pace.size))
            else:
                connection.receive_data(await reader.read(2**16))
            continue
        yield event
        if isinstance(event, h11.EndOfMessage):
            return


def _take(answer: Answer, line: bytes) -> None:
    if not line.startswith(b"data: "):
        return
    if line == b"data: [DONE]":
        answer.whole = True
        return
    chunk = json.loads(line[6:])
    answer.completion_tokens = (chunk.get("usage") or {}).get("completion_tokens", 0)
    for choice in chunk.get("choices", ()):
        content = choice["delta"].get("content")
        if content:
            answer.times.append(time.perf_counter())
            answer.first = answer.first or answer.times[-1]
            answer.text += content
            answer.tokens += 1
