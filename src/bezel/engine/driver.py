"""A thread that steps an engine while it has requests, and streams of what comes out."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from queue import SimpleQueue

from bezel.engine.engine import Engine
from bezel.engine.request import Progress, Request


class Stream:
    """What happens to one request, until its end; raises the error that ended it.

    The driver puts into `queue` what each step brings; several streams may share one.
    """

    def __init__(self, engine: Engine, request: Request, queue: SimpleQueue[Progress]) -> None:
        self.request, self.queue = request, queue
        self._engine = engine
        self._ended = False

    def put(self, progress: Progress) -> None:
        """Called by the driver."""
        self._ended = progress.reason is not None
        self.queue.put(progress)

    def __iter__(self) -> Iterator[Progress]:
        while True:
            progress = received(self.queue)
            yield progress
            if progress.reason is not None:
                return

    def cancel(self) -> None:
        """End the request, unless it has ended."""
        if not self._ended:
            self._engine.cancel(self.request.id)


def received(queue: SimpleQueue[Progress]) -> Progress:
    """Wait for what comes next; raises the error of a request that failed."""
    progress = queue.get()
    if progress.error is not None:
        raise progress.error
    return progress


class Driver:
    """Runs an engine for callers of any thread.

    The thread lives while there are requests, so an idle engine costs nothing; signals such as Ctrl-C never
    interrupt a step. At the interpreter's end it stops after the step that it is in.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        weakref.finalize(self, _stop, self._stopping, self._threads)

    @property
    def engine(self) -> Engine:
        return self._engine

    def submit(self, request: Request, queue: SimpleQueue[Progress] | None = None) -> Stream:
        """Queue a request, for a queue of its own unless one is given. Raises what `Engine.add` raises."""
        stream = Stream(self._engine, request, queue or SimpleQueue())
        with self._lock:
            self._engine.add(request)
            self._streams[request.id] = stream
            if not self._threads:
                self._threads.append(threading.Thread(target=self._run, name="bezel-engine", daemon=True))
                self._threads[0].start()
        return stream

    def _run(self) -> None:
        while self._has_work():
            try:
                progress = self._engine.step()
            except BaseException as error:
                self._fail(error)
            else:
                with self._lock:
                    for one in progress:
                        self._deliver(one)

    def _has_work(self) -> bool:
        with self._lock:
            if self._engine.busy and not self._stopping.is_set():
                return True
            self._threads.clear()
            return False

    def _deliver(self, progress: Progress) -> None:
        ended = progress.reason is not None
        stream = self._streams.pop(progress.request.id) if ended else self._streams[progress.request.id]
        stream.put(progress)

    def _fail(self, error: BaseException) -> None:
        """A step that fails (memory, say) ends every request with its error; the engine goes on empty."""
        with self._lock:
            self._engine.clear()
            streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.put(Progress(stream.request, (), time.perf_counter(), "cancelled", error))


def _stop(stopping: threading.Event, threads: list[threading.Thread]) -> None:
    stopping.set()
    for thread in list(threads):
        thread.join()
