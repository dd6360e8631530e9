"""A server in a process of its own, whose memory is then its alone."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bezel.safety.content import ContentPolicy
from bezel.safety.settings import PolicySettings

MODEST = {"max_body_bytes": 1 << 19, "max_stored_bytes": 4 << 20, "max_batch_lines": 50, "body_seconds": 5}


def flagging(folder: Path) -> ContentPolicy:
    """A policy that looks at everything and changes nothing but addresses."""
    rules = folder / "rules.toml"
    rules.write_text('[[rule]]\nname = "gossip"\naction = "flag"\nwords = ["rumour"]\n')
    return ContentPolicy.of(PolicySettings(rules=str(rules), personal_data=("email",)))


def live(folder: str, settings: dict[str, Any], pipe: Connection) -> None:
    """Serve what counts, embeds and hears until the pipe is closed; the log is `log` in the folder."""
    from bezel.testing import CounterBackend
    from tests.service.engines import CountingEmbedder, CountingHearer
    from tests.service.live import Live

    backends: Any = {"counter": CounterBackend(context=512), "embedder": CountingEmbedder(), "hearer": CountingHearer()}
    place = Path(folder)
    kept: Any = {"batch_folder": str(place / "batches"), "policy": flagging(place)}
    server = Live(place, backends=backends, rate_limit=0, **kept, **settings)
    with (place / "log").open("w") as log:
        server.server.log._stream = log
        pipe.send((server.port, server.secret))
        with suppress(EOFError):
            pipe.recv()
        server.stop()


class Process:
    """Starts at once; `port` and `secret` are the server's."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        spawn = multiprocessing.get_context("spawn")
        self._pipe, other = spawn.Pipe()
        self._process = spawn.Process(target=live, args=(str(folder), {**MODEST, **settings}, other))
        self._process.start()
        other.close()
        self.port, self.secret = self._pipe.recv()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join(60)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
