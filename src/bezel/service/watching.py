"""The server looks at itself: numbers of the last minutes, alerts over them, usage of keys, health of models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from bezel.backends.interface import Backend
from bezel.catalog.hardware import MemoryUse, memory_use, probe
from bezel.errors import StorageError
from bezel.monitor.alerts import Alert, Alerts
from bezel.monitor.health import Health, Probe, judged, together
from bezel.monitor.metrics import Metrics
from bezel.monitor.quality import Score
from bezel.monitor.recent import Recent
from bezel.monitor.settings import MonitorSettings
from bezel.monitor.summary import Load, Moment, Summary, score_name, series, summarise
from bezel.service.errors import CATALOGUE
from bezel.service.exchange import Exchange
from bezel.service.lanes import Lanes
from bezel.service.usage import Usage, UsageStore

_GONE = CATALOGUE["gone"].code


class Watch:
    """One for a server; used from its loop. `usage` is None where there are no keys; `memory` is what it holds."""

    def __init__(
        self,
        settings: MonitorSettings,
        metrics: Metrics,
        usage: UsageStore | None,
        memory: Callable[[], MemoryUse] = memory_use,
    ) -> None:
        self._memory = memory
        self.settings, self._metrics, self._usage = settings, metrics, usage
        self._recent, self._alerts = Recent(settings.alert_window_seconds), Alerts(settings)
        self._lanes: dict[str, Lanes] = {}
        self._judged: dict[tuple[str, str, str], None] = {}
        self._machine = probe().memory
        self._unwritten: str | None = None
        self._probes: dict[str, asyncio.Task[float]] = {}
        metrics.memory(lambda: memory().resident, self._machine)

    def set(self, settings: MonitorSettings) -> None:
        """Watch for other thresholds from now on; the window stays as long as it is."""
        self.settings = settings
        for alert in self._alerts.set(settings):
            self._metrics.alert.remove(alert)

    def model(self, name: str, lanes: Lanes) -> None:
        """Look at a model too."""
        self._lanes[name] = lanes

    def tokens(self, count: int, gap: float | None) -> None:
        """Tokens that came, `gap` seconds each behind the one before; None of the first."""
        self._recent.count("generated", count)
        if gap is not None:
            self._recent.time("inter_token", gap, count)

    def answered(self, exchange: Exchange) -> None:
        """A request has ended. Only those are counted that ask a model for something."""
        if exchange.scope != "generate":
            return
        failed = exchange.cause is not None or exchange.status >= 500
        outcome = "failed" if failed else "ok" if exchange.error is None else "refused"
        outcome = "gone" if exchange.error == _GONE else outcome
        seconds, recent = time.perf_counter() - exchange.started, self._recent
        for name in ("requests", outcome):
            recent.count(name)
        self._metrics.requests.labels(outcome).inc()
        recent.count("prompt", exchange.prompt_tokens)
        recent.count("cached", exchange.cached_tokens)
        if outcome == "ok":
            recent.time("latency", seconds)
            self._metrics.latency.labels(exchange.model or "").observe(seconds)
        if exchange.first_token_seconds is not None:
            recent.time("first_token", exchange.first_token_seconds)
        if exchange.queue_seconds is not None:
            recent.time("queue", exchange.queue_seconds)
        if self._usage is not None and exchange.key is not None:
            tokens = (exchange.prompt_tokens, exchange.cached_tokens, exchange.completion_tokens)
            self._usage.add(exchange.key.id, Usage(1, int(outcome in ("refused", "failed")), *tokens))

    def judged(self, model: str, score: Score) -> None:
        """An answer of a model got a score."""
        self._judged[model, score.respect, score.method] = None
        self._recent.time(score_name(model, score.respect, score.method), score.value)
        self._metrics.quality.labels(model, score.respect, score.method).observe(score.value)

    def look(self) -> tuple[Summary, Sequence[Alert]]:
        """How things are; the alerts are those of now."""
        models = [Load(name, lanes.running, lanes.waiting, lanes.width) for name, lanes in self._lanes.items()]
        memory = self._memory()
        for level, value in (
            ("running", sum(model.running for model in models)),
            ("waiting", sum(model.waiting for model in models)),
            ("resident", memory.resident),
        ):
            self._recent.level(level, value)
        summary = summarise(self._recent, models, memory, self._machine, self._judged)
        alerts = self._alerts.evaluate(summary)
        for alert in alerts:
            self._metrics.alert.labels(alert.name).set(alert.state == "firing")
        return summary, alerts

    def history(self) -> list[Moment]:
        """The window, slot by slot."""
        return series(self._recent)

    async def keep(self, side: Executor) -> None:
        """Look and write usage down once a slot of the window, until cancelled."""
        while True:
            self.look()
            if self._usage is not None:
                try:
                    await asyncio.get_running_loop().run_in_executor(side, self._usage.flush)
                    self._unwritten = None
                except StorageError:
                    self._unwritten = "Usage of keys cannot be written; it is held until it can."
            await asyncio.sleep(self._recent.slot_seconds)

    async def health(self, backends: dict[str, Backend], side: Executor) -> tuple[Health, dict[str, Health]]:
        """How the server is, and each model: one token is asked of each.

        Who asks meanwhile shares the answer: a model is asked once at a time, however many look.
        """
        probes = await asyncio.gather(*(self._probe(name, backend, side) for name, backend in backends.items()))
        models = {each.model: judged(each, self.settings) for each in probes}
        doubts = [alert.message for alert in self.look()[1] if alert.state == "firing"]
        doubts += [f"{name} takes no more requests." for name, lanes in self._lanes.items() if not lanes.open]
        doubts += [self._unwritten] if self._unwritten else []
        return together(list(models.values()), doubts), models

    async def _probe(self, name: str, backend: Backend, side: Executor) -> Probe:
        began, limit = time.monotonic(), self.settings.probe_unhealthy_seconds
        task = self._probes.get(name)
        if task is None or task.done():
            task = self._probes[name] = asyncio.ensure_future(_seconds(backend, side))
        try:
            return Probe(name, await asyncio.wait_for(asyncio.shield(task), limit))
        except TimeoutError:
            return Probe(name, max(time.monotonic() - began, limit * 1.001))
        except Exception as error:  # whatever a backend raises is its illness; its words may hold content
            return Probe(name, time.monotonic() - began, type(error).__name__)


async def _seconds(backend: Backend, side: Executor) -> float:
    """For which a backend's health took."""
    began = time.monotonic()
    await asyncio.get_running_loop().run_in_executor(side, backend.health)
    return time.monotonic() - began
