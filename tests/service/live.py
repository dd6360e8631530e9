"""A server on a free port of this machine, in a thread."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from openai import OpenAI

from bezel.backends.interface import Backend
from bezel.monitor.quality import Judge
from bezel.monitor.settings import MonitorSettings
from bezel.safety.content import ContentPolicy
from bezel.service.app import create_app
from bezel.service.keys import SCOPES
from bezel.service.server import Server
from bezel.service.settings import ServerSettings
from bezel.testing import CounterBackend

MESSAGES = [{"role": "user", "content": "one two three"}]
CHAT = {"model": "counter", "messages": MESSAGES}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"count": {}}}}}
    for name in ("count_up", "count_down")
]


class Live:
    """Starts at once; `secret` is a key for everything, and `client` sends it."""

    def __init__(
        self,
        folder: Path,
        backends: Mapping[str, Backend] | None = None,
        watched: Mapping[str, Any] | None = None,
        tracing: Any = None,
        policy: ContentPolicy | None = None,
        judge: Judge | None = None,
        **settings: Any,
    ) -> None:
        self.counter = CounterBackend()
        self.log_text = io.StringIO()
        chosen = ServerSettings(**{"port": 0, "api_key_db": str(folder / "keys.sqlite3"), **settings})
        self.app = create_app(
            chosen,
            backends or {"counter": self.counter},
            self.log_text,
            MonitorSettings(**(watched or {})),
            tracing=tracing,
            policy=policy,
            judge=judge,
        )
        self.server: Server = self.app.state.server
        self.secret = self.server.keys.create("all", SCOPES)[0] if self.server.keys else ""
        config = uvicorn.Config(
            self.app, port=0, access_log=False, log_config=None, lifespan="on", timeout_keep_alive=120
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run)
        self._thread.start()
        wait_until(lambda: self._uvicorn.started)
        self.port = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, headers=self.bearer(self.secret), timeout=60, trust_env=False)
        self.openai = OpenAI(base_url=f"{self.url}/v1", api_key=self.secret or "none", max_retries=0)

    @staticmethod
    def bearer(secret: str) -> dict[str, str]:
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def key(self, *scopes: str, **limits: Any) -> dict[str, str]:
        """Headers with a new key."""
        assert self.server.keys is not None
        return self.bearer(self.server.keys.create("one", scopes, **limits)[0])

    def chat(self, headers: Mapping[str, str] | None = None, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/chat/completions", json={**CHAT, **fields}, headers=headers)

    def log(self, count: int = 0) -> list[dict[str, Any]]:
        """The lines, of which `count` are waited for: they are written behind the answers."""
        wait_until(lambda: self.log_text.getvalue().count("\n") >= count)
        return [json.loads(line) for line in self.log_text.getvalue().splitlines()]

    def lanes(self) -> Any:
        return next(iter(self.server.models.values())).lanes

    def leave(self) -> None:
        """What SIGTERM does: take nothing new and end when all is answered."""
        self._uvicorn.should_exit = True

    def stop(self) -> None:
        self.client.close()
        self.openai.close()
        self.leave()
        self._thread.join()


def wait_until(done: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def events(response: httpx.Response) -> list[Any]:
    """The chunks of a stream; it must end with [DONE]."""
    lines = [line for line in response.text.split("\n\n") if line and not line.startswith(":")]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]
