"""What this machine has: memory that may be used, processors, instruction sets."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from bezel.settings import usable_processors


@dataclass(frozen=True)
class Machine:
    """`memory` and `available` are bytes, limits of the control group included."""

    processor: str
    threads: int
    memory: int
    available: int


def probe() -> Machine:
    """Read this machine; what the system does not tell falls back to physical memory and one processor."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = _meminfo("MemAvailable") or memory
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None:
        memory = min(memory, limit)
        available = min(available, limit - (used or 0))
    return Machine(_processor(), usable_processors(), memory, available)


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _meminfo(field: str) -> int | None:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def _processor() -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
