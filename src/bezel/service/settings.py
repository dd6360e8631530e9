"""What can be set of the server."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path

from bezel.errors import InvalidRequestError

LOG_LEVELS = ("info", "warning", "error")


def default_key_db() -> str:
    """Where keys are kept unless something else is said."""
    return str(Path("~/.local/share/bezel/keys.sqlite3").expanduser())


@dataclass(frozen=True)
class ServerSettings:
    """Names are those of the flags of `bezel serve`. Raises InvalidRequestError for numbers out of range.

    A limit of 0 is none. `Key`s may have limits of their own.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    no_auth: bool = False
    """Answer everybody; only where `host` is a loopback address."""
    api_key_db: str = field(default_factory=default_key_db)
    allowed_hosts: tuple[str, ...] = ()
    """Names that a Host header may give; of a loopback address its own where nothing is said. "*" is any."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages of these origins may ask (CORS)."""
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    max_num_seqs: int = 8
    """Answers of a model at once."""
    max_queue: int = 64
    """Requests that wait for a model; more are refused."""
    engine_process: bool = True
    """A model of the native engine runs in a process of its own, so that its crash is not the server's."""
    tracing: bool = False
    """Send a span of OpenTelemetry for each request to a model, as the environment's OTEL_* say."""
    queue_seconds: float = 60.0
    """For which a request waits at most."""
    rate_limit: int = 600
    """Requests a minute and key."""
    token_limit: int = 0
    """Tokens a minute and key, of prompts and answers."""
    limits_url: str = "async+memory://"
    """Where counts are kept: "async+redis://HOST:PORT" where several servers share them."""
    max_body_bytes: int = 32 << 20
    body_seconds: float = 60.0
    """In which a request's body must have come."""
    max_text_chars: int = 2_000_000
    """Of all texts of a request together."""
    batch_folder: str | None = None
    """Where files and batches are kept; None: nowhere, and none are taken."""
    max_batch_lines: int = 50_000
    max_stored_bytes: int = 1 << 30
    """Of all files and results together."""
    log_level: str = "info"
    """Which requests are logged: all ("info"), those with an error ("warning"), those that failed here ("error")."""
    slow_reader_seconds: float = 60.0
    """A stream whose reader takes nothing for so long is ended: as nginx's `send_timeout`.

    A kernel lets go on only when thousands of bytes were read: who takes 256 a second seems to rest for 40 seconds.
    """

    def __post_init__(self) -> None:
        ranges = {
            "port": (0, 65_535),
            "max_num_seqs": (1, 1_024),
            "max_queue": (0, 100_000),
            "queue_seconds": (0.001, 3_600),
            "rate_limit": (0, 10**9),
            "token_limit": (0, 10**12),
            "max_body_bytes": (1 << 10, 1 << 30),
            "body_seconds": (0.001, 3_600),
            "max_text_chars": (1, 1 << 30),
            "max_batch_lines": (1, 1_000_000),
            "max_stored_bytes": (1 << 10, 1 << 50),
            "slow_reader_seconds": (0.001, 3_600),
        }
        for each in fields(self):
            low, high = ranges.get(each.name, (-math.inf, math.inf))
            value = getattr(self, each.name)
            if each.name in ranges and not low <= value <= high:
                raise InvalidRequestError(f"{each.name} is {value!r}; it must lie between {low} and {high}")
        if self.log_level not in LOG_LEVELS:
            raise InvalidRequestError(f"log_level is {self.log_level!r}; choose from {', '.join(LOG_LEVELS)}")
        if self.no_auth and not self.loopback:
            raise InvalidRequestError(
                f"no_auth with host {self.host!r} would let everybody in; leave one of them out, and create a key with "
                "`bezel keys create NAME`"
            )
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            raise InvalidRequestError("ssl_certfile and ssl_keyfile belong together; give both")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names that a Host header may give; empty where any may."""
        if "*" in self.allowed_hosts:
            return ()
        own = ("localhost", "127.0.0.1", "::1", self.host) if self.loopback else ()
        return (*self.allowed_hosts, *own)
