"""A server with a backend that counts, in a process of its own: what the service itself costs, without a model.

    python -m bench.load.counting '{"count": 100, "delay": 0.25, "max_num_seqs": 500}'

Arguments of `CounterBackend` go to the backend, the others are settings of the server. Prints its port. `send_buffer`
is what the kernel keeps for a connection, in bytes: where it keeps megabytes, it takes minutes to see that a reader is
slow.
"""

from __future__ import annotations

import io
import json
import socket
import sys
from typing import Any

import uvicorn

from bezel.service.app import create_app
from bezel.service.listening import configuration
from bezel.service.settings import ServerSettings
from bezel.testing import CounterBackend

_BACKEND = ("count", "delay", "context")


class Forgetful(io.StringIO):
    """A log that nobody reads: kept in memory it would be counted as the streams' own."""

    def write(self, text: str) -> int:
        return len(text)


def main() -> None:
    options: dict[str, Any] = json.loads(sys.argv[1])
    send_buffer = options.pop("send_buffer", None)
    backend = CounterBackend(**{name: options.pop(name) for name in _BACKEND if name in options})
    settings = ServerSettings(**{"port": 0, "no_auth": True, "rate_limit": 0, **options})
    config = configuration(create_app(settings, {"counter": backend}, Forgetful()), settings)
    listening = config.bind_socket()
    if send_buffer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listening.listen(config.backlog)
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main()
