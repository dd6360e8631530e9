"""The parent's side of a child process that decodes: started when needed, ended when it breaks a limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from bezel.errors import CorruptMediaError, MediaError, MediaTimeoutError, MediaTooLargeError
from bezel.media.formats import Kind
from bezel.media.limits import Limits
from bezel.media.protocol import ANSWER, IDLE_SECONDS, READY, Answer, Request, Tag

STARTS_WITHIN = 30.0
GRACE = 1.0
"""Seconds after which the parent ends a child that did not end itself."""

_CODE = """
import sys, json
sys.path[:] = json.loads(sys.argv[1])
from bezel.media.child.main import main
main(*sys.argv[2:])
"""
# Nothing secret: how libraries are found, and that they use one thread.
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_SET = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _absolute(paths: Iterable[str]) -> Iterator[str]:
    """Of paths, those that can be told: a child works in another folder, and this process's may have been deleted."""
    for path in paths:
        with contextlib.suppress(OSError):
            if path:
                yield os.path.abspath(path)


class Child:
    """One process of one kind under fixed limits; one decoding at a time. Raises MediaError where it does not start."""

    def __init__(self, kind: Kind, limits: Limits) -> None:
        self.kind, self.limits = kind, limits
        self.decodings = 0
        paths = [str(Path(__file__).parents[2]), *_absolute(sys.path)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CODE, json.dumps(paths), kind.value, json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | _SET,
            cwd="/",
            start_new_session=True,  # Ctrl-C in a terminal is for the parent
        )
        self._timed_out = False
        self._idle_since = time.monotonic()
        try:
            with self._ends_after(STARTS_WITHIN):
                ready = self._read(len(READY))
        except BaseException:
            self.end()
            raise
        if ready != READY:
            self.end()
            raise MediaError(f"the process that decodes {kind.value}s does not start; is bezel installed whole?")

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def waits(self) -> bool:
        """Whether it is there, and will not end by itself before it gets a request."""
        return self._process.poll() is None and time.monotonic() - self._idle_since < IDLE_SECONDS - GRACE

    def end(self) -> None:
        """Kill and wait; harmless where it has ended."""
        self._process.kill()
        self._process.wait()
        self._close()

    def forget(self) -> None:
        """In a process that was forked: leave it to the other one, which started it."""
        self._process.returncode = 0  # or Popen warns that it still runs
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def answers(self, request: Request, data: bytes) -> Iterator[Answer]:
        """Answers up to END or FAILURE. After a PICTURE or SOUND the caller must `read_into` its bytes.

        Any error leaves the conversation unfinished: `end` this child then. Raises MediaTimeoutError,
        MediaTooLargeError (memory) and CorruptMediaError (a crash).
        """
        self.decodings += 1
        with self._ends_after(self.limits.seconds + GRACE):
            try:
                self._write(request.pack())
                self._write(data)
            except OSError:
                raise self._ended() from None
            while True:
                record = self._read(ANSWER.size)
                if len(record) < ANSWER.size:
                    raise self._ended()
                try:
                    answer = Answer.unpack(record)
                except ValueError:
                    raise CorruptMediaError("the decoder answered nonsense, so the file is not used") from None
                yield answer
                if answer.tag not in (Tag.PICTURE, Tag.SOUND):
                    self._idle_since = time.monotonic()
                    return

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` (bytes) with what follows an answer."""
        while len(buffer):
            count = self._pipe.readinto(buffer)  # type: ignore[attr-defined]
            if not count:
                raise self._ended()
            buffer = buffer[count:]

    @property
    def _pipe(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]

    def _read(self, count: int) -> bytes:
        """`count` bytes, or fewer where the child ended."""
        out = b""
        while len(out) < count and (part := self._pipe.read(count - len(out))):
            out += part
        return out

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        rest = memoryview(data)
        while rest:
            rest = rest[self._process.stdin.write(rest) or 0 :]

    @contextlib.contextmanager
    def _ends_after(self, seconds: float) -> Iterator[None]:
        """Kill the child when time is up, which ends any read or write that waits for it."""

        def kill() -> None:
            self._timed_out = True
            self._process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _ended(self) -> MediaError:
        """Why the child is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        status = self._process.poll()
        if self._timed_out or status in (-signal.SIGALRM, -signal.SIGXCPU):
            return MediaTimeoutError(
                f"the {self.kind.value} took longer than {self.limits.seconds:g} s to decode; send a smaller one"
            )
        if status == -signal.SIGKILL:
            return MediaTooLargeError("the system ended the decoder, most likely for memory; send a smaller file")
        return CorruptMediaError(f"the {self.kind.value} made its decoder crash; convert it with another program")
