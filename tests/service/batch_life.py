"""One life of a server that works through a folder of batches, in a process of its own that may be killed."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path

from bezel.backends.interface import Request
from bezel.service.app import create_app
from bezel.service.settings import ServerSettings
from bezel.testing import CounterBackend
from bezel.testing.counter import Counting


class Noting(CounterBackend):
    """Notes every prompt that it is asked, before it answers."""

    def __init__(self, notes: Path) -> None:
        super().__init__(delay=0.001)
        self._notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def stream(self, request: Request) -> Counting:
        os.write(self._notes, f"{request.prompt}\n".encode())
        return super().stream(request)


def live(folder: str, notes: str) -> None:
    """Until every batch has ended."""
    settings = ServerSettings(no_auth=True, batch_folder=folder, max_num_seqs=4)
    app = create_app(settings, {"counter": Noting(Path(notes))}, io.StringIO())
    store = app.state.server.batches

    async def run() -> None:
        async with app.router.lifespan_context(app):
            while store.unfinished():
                await asyncio.sleep(0.01)

    asyncio.run(run())


def input_lines(first: int, count: int) -> bytes:
    """Requests whose answers differ."""
    lines = []
    for number in range(first, first + count):
        body = {"model": "counter", "prompt": f"p{number}", "max_tokens": number % 5 + 1, "temperature": 0}
        if number % 10 == 9:
            body["temperature"] = 9  # an error's line is written once too
        line = {"custom_id": f"c{number}", "method": "POST", "url": "/v1/completions", "body": body}
        lines.append(json.dumps(line))
    return "\n".join(lines).encode()
