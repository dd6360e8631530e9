"""Keeps one process of an engine running: when it ends another is started, and until then everybody is told so."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from bezel.backends.child.process import GRACE_SECONDS, Child
from bezel.backends.child.wire import Opened
from bezel.errors import BezelError, EngineStartingError

LONGEST_PAUSE = 30.0
"""Seconds between two starts, where one after the other fails."""
Notice = Callable[[str, str], None]
"""Told what happens: "engine_ended", "engine_started" or "engine_failed_to_start", and in a few words how."""


class Supervisor:
    """Starts a process and returns when the model is loaded; raises what loading raises.

    A start that fails later is tried again after a pause, which doubles up to `LONGEST_PAUSE`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self.notice: Notice = lambda event, detail: None
        self.restarts = 0
        self._closing = threading.Event()
        self._ready: Child | None = None
        began = time.monotonic()
        child = Child(options)
        try:
            self.opened: Opened = child.wait()
        except BaseException:
            child.end()
            raise
        self._start_seconds, self._ready_at = time.monotonic() - began, 0.0
        self._child = self._ready = child
        self._thread = threading.Thread(target=self._run, name="bezel-engine-supervisor", daemon=True)
        self._thread.start()

    @property
    def process_id(self) -> int | None:
        """Of the process that answers; None while there is none."""
        ready = self._ready
        return ready.process_id if ready is not None else None

    def child(self) -> Child:
        """The process that answers. EngineStartingError while there is none."""
        ready = self._ready
        if ready is None:
            left = max(1, math.ceil(self._ready_at - time.monotonic()))
            raise EngineStartingError("the process of the engine is being started; try again soon", left)
        return ready

    def close(self) -> None:
        """End the process: by itself, and where it does not in `GRACE_SECONDS`, by force. Start none any more."""
        self._closing.set()
        self._child.close_pipe()
        if not self._child.wait_seconds(GRACE_SECONDS):
            self._child.kill()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._child.serve()
            self._ready_at, self._ready = time.monotonic() + self._start_seconds, None
            how = self._child.how()
            self._child.end()
            if self._closing.is_set():
                return
            self.notice("engine_ended", how)
            if not self._start_again():
                return

    def _start_again(self) -> bool:
        """Whether there is a process again; otherwise this was closed."""
        pause = 0.0
        while not self._closing.wait(pause):
            began = time.monotonic()
            self._ready_at = began + self._start_seconds
            try:
                self.opened = self._started().wait()
            except (BezelError, OSError) as error:
                self._child.end()
                pause = min(LONGEST_PAUSE, 2 * pause or 1.0)
                self._ready_at = time.monotonic() + pause + self._start_seconds
                if not self._closing.is_set():
                    self.notice("engine_failed_to_start", type(error).__name__)
                continue
            self._start_seconds = time.monotonic() - began
            self.restarts += 1
            self._ready = self._child
            self.notice("engine_started", f"{self._start_seconds:.1f} s")
            return True
        return False

    def _started(self) -> Child:
        self._child = child = Child(self._options)
        if self._closing.is_set():  # `close` may have ended the one before
            child.kill()
        return child
