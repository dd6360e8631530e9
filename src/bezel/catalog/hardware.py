"""What this machine has: memory that may be used, processors, instruction sets."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class MemoryUse:
    """Bytes that a process holds, and the most that it has held. Where the system tells the peak alone, both are."""

    resident: int
    peak: int


def memory_use(process_id: int | None = None) -> MemoryUse:
    """What the system says now of a process, or of this one; of another 0 where it says nothing."""
    found = {}
    for line in _text(f"/proc/{process_id or 'self'}/status").splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found[name] = int(rest.split()[0]) * 1024
    if len(found) == 2:
        return MemoryUse(found["VmRSS"], found["VmHWM"])
    if process_id is not None:
        return MemoryUse(0, 0)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return MemoryUse(peak, peak)


def gpu_memory() -> int | None:
    """Bytes that this process has taken on its CUDA devices through torch; None where it uses none."""
    torch: Any = sys.modules.get("torch")  # who has not imported it has taken nothing
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return sum(int(torch.cuda.memory_reserved(device)) for device in range(torch.cuda.device_count()))


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
