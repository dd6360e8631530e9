"""Servers as processes of their own: started, looked at, ended by their id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Running:
    """A server that answers on a port of this machine."""

    pid: int
    port: int

    @property
    def resident(self) -> int:
        """Bytes of memory that the process holds now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process, ended with the block."""
    with subprocess.Popen(command, text=True, **options) as started:
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()


@contextmanager
def counting(**options: Any) -> Iterator[Running]:
    """A server that counts: see `counting.py`."""
    command = [sys.executable, "-m", "bench.load.counting", json.dumps(options)]
    root = Path(__file__).parents[2]
    with process(command, stdout=subprocess.PIPE, cwd=root) as started:
        assert started.stdout is not None
        yield Running(started.pid, int(started.stdout.readline()))
