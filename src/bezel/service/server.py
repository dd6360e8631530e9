"""What the layers and routes share: settings, models, keys, limits, metrics, the log."""

from __future__ import annotations

import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from starlette.requests import HTTPConnection

from bezel.backends.interface import Backend, Supervised
from bezel.catalog.hardware import MemoryUse, memory_use
from bezel.errors import InvalidRequestError
from bezel.monitor.metrics import Metrics
from bezel.monitor.quality import Judge, Score
from bezel.monitor.settings import MonitorSettings
from bezel.safety.content import ContentPolicy
from bezel.service.batches.store import BatchStore
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange
from bezel.service.keys import KeyStore
from bezel.service.lanes import Lanes
from bezel.service.limits import Limits
from bezel.service.logs import RequestLog
from bezel.service.sampled import BUSY, Samples, safety
from bezel.service.settings import ServerSettings
from bezel.service.usage import UsageStore
from bezel.service.watching import Watch

if TYPE_CHECKING:
    from bezel.service.batches.runner import Runner
    from bezel.service.tracing import Tracing

_SIDE_THREADS = 4


@dataclass(frozen=True)
class Served:
    """A model under its name."""

    name: str
    backend: Backend
    lanes: Lanes
    created: int

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together."""
        return int(self.backend.describe()["context"])

    @property
    def able(self) -> bool:
        """Whether a request would be taken now."""
        up = not isinstance(self.backend, Supervised) or self.backend.process_id is not None
        return up and self.lanes.open


class Server:
    """Made once. `keys` and `usage` are None where everybody is answered."""

    def __init__(
        self,
        settings: ServerSettings,
        models: Mapping[str, Backend],
        created: int,
        log: TextIO | None = None,
        monitor: MonitorSettings | None = None,
        tracing: Tracing | None = None,
        policy: ContentPolicy | None = None,
        judge: Judge | None = None,
    ) -> None:
        if not models:
            raise InvalidRequestError("no model to serve; name one")
        self.settings, self.tracing = settings, tracing
        self.policy = policy or ContentPolicy()
        """The one of now: whoever replaces it changes what holds for requests that come then."""
        self.guard_lanes = Lanes(1, settings.max_queue, settings.queue_seconds)
        """Of moderations."""
        self.metrics, self.limits, self.log = Metrics(), Limits(settings), RequestLog(log, settings.log_level)
        self.metrics.unsettled(lambda: self.limits.unsettled)
        self.keys = None if settings.no_auth else KeyStore(Path(settings.api_key_db))
        folder = settings.batch_folder
        self.batches = BatchStore(Path(folder), settings.max_stored_bytes) if folder else None
        """None where no files and batches are kept."""
        self.runner: Runner | None = None
        """While the application runs: what works through the batches."""
        self.usage = None if settings.no_auth else UsageStore(Path(settings.api_key_db))
        self.watch = Watch(monitor or MonitorSettings(), self.metrics, self.usage, self._memory)
        judge = replace(judge or Judge(), safety=self._safety)
        self.samples = Samples(judge, self.watch.judged, self._unjudged, random.Random())
        self.models = {
            name: Served(
                name, backend, Lanes(settings.max_num_seqs, settings.max_queue, settings.queue_seconds), created
            )
            for name, backend in models.items()
        }
        self.pool = ThreadPoolExecutor(len(models) * settings.max_num_seqs + 1, "bezel-answer")
        """Reads streams: a thread for each lane, the guard's too."""
        self.side = ThreadPoolExecutor(_SIDE_THREADS, "bezel-side")
        """Counts tokens, so that the loop need not wait."""
        self.probing = ThreadPoolExecutor(len(models), "bezel-probe")
        """Asks models whether they live: a thread for each, so that one that hangs holds up no other."""
        for name, served in self.models.items():
            self.watch.model(name, served.lanes)
            if isinstance(served.backend, Supervised):
                served.backend.tell(partial(self._notice, name))
            self.metrics.watch(
                name, partial(getattr, served.lanes, "running"), partial(getattr, served.lanes, "waiting")
            )

    def model(self, name: str) -> Served:
        """A model by its name. ApiError "no_model"."""
        found = self.models.get(name)
        if found is None:
            raise ApiError("no_model", param="model")
        return found

    def note(self, exchange: Exchange) -> None:
        """Write down a request that has ended: in the log, and as a span where requests are traced."""
        self.log.write(exchange)
        if self.tracing is not None:
            self.tracing.record(exchange)

    def _notice(self, model: str, event: str, detail: str) -> None:
        """What happens to the process of an engine, for the log and the numbers."""
        if event == "engine_started":
            self.metrics.engine_restarts.labels(model).inc()
        self.log.event(event, detail, model)

    def _safety(self, question: str, answer: str) -> Score | None:
        """By the policy of now; None where it does not look at answers."""
        return safety(self.policy, question, answer)

    def _unjudged(self, reason: str) -> None:
        self.metrics.unjudged.labels(reason).inc()
        if reason != BUSY:
            self.log.event("answer_unjudged", reason)

    def _memory(self) -> MemoryUse:
        """Of this process and those of engines together."""
        uses = [served.backend.memory() for served in self.models.values() if isinstance(served.backend, Supervised)]
        uses.append(memory_use())
        return MemoryUse(sum(use.resident for use in uses), sum(use.peak for use in uses))

    def set(self, settings: ServerSettings, monitor: MonitorSettings, policy: ContentPolicy) -> None:
        """Have other settings hold from the next request on, those that `reloading.LIVE` names.

        A part that holds a setting of its own gets it here.
        """
        self.policy = policy
        self.settings = self.limits.settings = settings
        self.log.level = settings.log_level
        self.watch.set(monitor)
        for served in self.models.values():
            served.lanes.set(settings.max_queue, settings.queue_seconds)

    def close(self) -> None:
        """Let go of threads, files and processes of engines; streams that still run leave by themselves."""
        for served in self.models.values():
            if isinstance(served.backend, Supervised):
                served.backend.close()
        if self.tracing is not None:
            self.tracing.close()
        self.samples.close()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.side.shutdown(wait=False, cancel_futures=True)
        self.probing.shutdown(wait=False, cancel_futures=True)
        if self.keys is not None:
            self.keys.close()
        if self.batches is not None:
            self.batches.close()
        if self.usage is not None:
            self.usage.close()


def server_of(connection: HTTPConnection) -> Server:
    """The server that a request came to."""
    found: Server = connection.app.state.server
    return found
