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


def usable_processors(root: Path = Path("/")) -> int:
    """Processors that this process may run on, at most what its control groups' quotas pay for (one at least).

    `root` is where /proc and /sys lie.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _control_groups(_text(root / "proc/self/cgroup")):
        folder = root / "sys/fs/cgroup" / group
        for path in (folder, *folder.parents):
            if not path.is_relative_to(root / "sys/fs/cgroup"):
                break
            either = (
                _text(path / "cpu.max") or f"{_text(path / 'cpu.cfs_quota_us')} {_text(path / 'cpu.cfs_period_us')}"
            )
            allowed = min(allowed, processors_of_quota(either) or allowed)
    return allowed


def processors_of_quota(text: str) -> int | None:
    """Whole processors, one at least, that "QUOTA PERIOD" pays for; None without a limit ("max", "-1", nothing)."""
    fields = text.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields) or int(fields[1]) == 0:
        return None
    return max(1, int(fields[0]) // int(fields[1]))


def _control_groups(text: str) -> list[str]:
    """Folders under /sys/fs/cgroup that may limit a process, from its /proc/self/cgroup: version 2, then version 1."""
    found = [""]
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found.append(path.lstrip("/"))
        elif "cpu" in controllers.split(","):
            found += [f"{name}/{path.lstrip('/')}" for name in dict.fromkeys((controllers, "cpu"))]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
