"""Settings that hold without a restart: SIGHUP reads them again, and a file that is wrong changes nothing."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from bezel.errors import BezelError
from bezel.monitor.settings import MonitorSettings
from bezel.safety.settings import PolicySettings
from bezel.service.server import Server
from bezel.service.settings import ServerSettings

Settings = TypeVar("Settings", ServerSettings, MonitorSettings)


@dataclass(frozen=True)
class AllSettings:
    """What `bezel serve` is told by flags, environment and file."""

    serve: ServerSettings
    monitor: MonitorSettings
    policy: PolicySettings


Reread = Callable[[], AllSettings]
"""The settings of now. Raises as `bezel.settings.read_settings`."""
LIVE = frozenset(
    {
        "rate_limit",
        "token_limit",
        "max_queue",
        "queue_seconds",
        "max_body_bytes",
        "body_seconds",
        "max_text_chars",
        "max_batch_lines",
        "slow_reader_seconds",
        "log_level",
        "alert_after_seconds",
        "alert_first_token_p95_seconds",
        "alert_latency_p95_seconds",
        "alert_error_rate",
        "alert_waiting",
        "alert_memory_share",
        "quality_share",
        "probe_degraded_seconds",
        "probe_unhealthy_seconds",
    }
)
"""What `Server.set` can change; everything else needs a restart."""


def reload(server: Server, reread: Reread) -> None:
    """Have the settings of now hold, as far as they can, and log which do not; or log why the old ones stay."""
    try:
        now = reread()
        policy = server.policy.with_rules_of(now.policy)
    except BezelError as error:
        server.log.event("settings_refused", f"{type(error).__name__}: {error}")
        return
    changed, waiting = list[str](), list[str]()
    applied = _applied(server.settings, now.serve, changed, waiting)
    if policy.described != server.policy.described:
        changed.append("policy")
    server.set(applied, _applied(server.watch.settings, now.monitor, changed, waiting), policy)
    detail = f"changed: {', '.join(changed) or 'nothing'}"
    server.log.event("settings_reloaded", f"{detail}; need a restart: {', '.join(waiting)}" if waiting else detail)


def _applied(old: Settings, new: Settings, changed: list[str], waiting: list[str]) -> Settings:
    """`old` with those of `new` that are live; names of what differs go to one of the lists."""
    differing = [each.name for each in fields(old) if getattr(old, each.name) != getattr(new, each.name)]
    live = [name for name in differing if name in LIVE]
    changed += live
    waiting += [name for name in differing if name not in LIVE]
    return replace(old, **{name: getattr(new, name) for name in live})


@contextmanager
def on_hangup(work: Callable[[], None] | None) -> Iterator[None]:
    """Do some work on the running loop at every SIGHUP, where there is such a signal and this is the main thread."""
    number = getattr(signal, "SIGHUP", None)
    if work is None or number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, work)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
