"""What the environment and the machine set where the user says nothing."""

from __future__ import annotations

import os
from pathlib import Path

from bezel.errors import InvalidRequestError


def default_threads() -> int:
    """$BEZEL_THREADS, else one for each processor that may be used. InvalidRequestError for what is no number."""
    asked = os.environ.get("BEZEL_THREADS", "")
    if asked and (not asked.isdigit() or not 1 <= int(asked) <= 256):
        raise InvalidRequestError(f"BEZEL_THREADS is {asked!r}; set it to a number from 1 to 256")
    return int(asked) if asked else usable_processors()


def usable_processors() -> int:
    """Processors that this process may run on, at most what the control group's quota pays for."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota = Path("/sys/fs/cgroup/cpu.max").read_text("utf-8").split()
    except OSError:
        quota = []
    if len(quota) == 2 and quota[0].isdigit():
        allowed = min(allowed, max(1, int(quota[0]) // int(quota[1])))
    return allowed
