"""When somebody should look: thresholds over a summary, and the same in Prometheus' language."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bezel.monitor.settings import MonitorSettings
from bezel.monitor.summary import Summary

State = Literal["ok", "pending", "firing"]
FEWEST = 10
"""Of fewer requests in the window no error rate is taken."""
_SERVER = "job, instance"


@dataclass(frozen=True)
class Rule:
    """Raised while `value` of a summary, and `expression` in Prometheus, is above `threshold`.

    `text` tells a person, with {value} and {threshold}; `unit` is how these are written.
    """

    name: str
    threshold: float
    text: str
    unit: Literal["seconds", "share", "count"]
    value: Callable[[Summary], float | None]
    expression: str
    condition: str = ""
    """What must hold besides, in Prometheus' language."""

    def message(self, value: float) -> str:
        """What a person is told."""
        return self.text.format(value=self.written(value), threshold=self.written(self.threshold))

    def written(self, value: float) -> str:
        """A value in the unit."""
        forms = {"seconds": f"{value:.3g} s", "share": f"{100 * value:.3g} %", "count": f"{value:g}"}
        return forms[self.unit]


def rules(settings: MonitorSettings) -> list[Rule]:
    """Those with a threshold."""
    window = f"{round(settings.alert_window_seconds)}s"

    def p95(histogram: str) -> str:
        return f"histogram_quantile(0.95, sum by (le, {_SERVER}) (rate({histogram}_bucket[{window}])))"

    requests = "bezel_generation_requests_total"
    every = [
        Rule(
            "BezelFirstTokenSlow",
            settings.alert_first_token_p95_seconds,
            "p95 of the time to the first token is {value}, above {threshold}.",
            "seconds",
            lambda summary: summary.first_token_seconds.p95,
            p95("bezel_time_to_first_token_seconds"),
        ),
        Rule(
            "BezelAnswersSlow",
            settings.alert_latency_p95_seconds,
            "p95 of the time of whole answers is {value}, above {threshold}.",
            "seconds",
            lambda summary: summary.latency_seconds.p95,
            p95("bezel_e2e_request_latency_seconds"),
        ),
        Rule(
            "BezelErrors",
            settings.alert_error_rate,
            "{value} of the requests failed, more than {threshold}.",
            "share",
            lambda summary: summary.requests.error_rate if summary.requests.count >= FEWEST else None,
            f'sum by ({_SERVER}) (rate({requests}{{outcome="failed"}}[{window}])) '
            f"/ sum by ({_SERVER}) (rate({requests}[{window}]))",
            f"sum by ({_SERVER}) (increase({requests}[{window}])) >= {FEWEST}",
        ),
        Rule(
            "BezelQueueLong",
            settings.alert_waiting,
            "{value} requests wait, more than {threshold}.",
            "count",
            lambda summary: float(sum(model.waiting for model in summary.models)),
            f"sum by ({_SERVER}) (bezel_num_requests_waiting)",
        ),
        Rule(
            "BezelMemoryFull",
            settings.alert_memory_share,
            "The process holds {value} of the memory, more than {threshold}.",
            "share",
            lambda summary: summary.memory.resident_bytes / summary.memory.machine_bytes,
            "bezel_process_resident_memory_bytes / bezel_machine_memory_bytes",
        ),
    ]
    return [rule for rule in every if rule.threshold > 0]


@dataclass(frozen=True)
class Alert:
    """A rule's state. `since` is the Unix time at which its threshold was passed; None while it is not."""

    name: str
    state: State
    value: float | None
    threshold: float
    since: float | None
    message: str


class Alerts:
    """Remembers since when thresholds are passed."""

    def __init__(self, settings: MonitorSettings, clock: Callable[[], float] = time.time) -> None:
        self._rules, self._after, self._clock = rules(settings), settings.alert_after_seconds, clock
        self._since: dict[str, float] = {}

    def set(self, settings: MonitorSettings) -> list[str]:
        """Evaluate other thresholds from now on; what is passed stays passed. The names that are no longer watched."""
        before = {rule.name for rule in self._rules}
        self._rules, self._after = rules(settings), settings.alert_after_seconds
        left = sorted(before - {rule.name for rule in self._rules})
        for name in left:
            self._since.pop(name, None)
        return left

    def evaluate(self, summary: Summary) -> Sequence[Alert]:
        """Every alert as it stands with this summary."""
        now = self._clock()
        return [self._state(rule, rule.value(summary), now) for rule in self._rules]

    def _state(self, rule: Rule, value: float | None, now: float) -> Alert:
        if value is None or value <= rule.threshold:
            self._since.pop(rule.name, None)
            return Alert(rule.name, "ok", value, rule.threshold, None, "")
        since = self._since.setdefault(rule.name, now)
        state: State = "firing" if now - since >= self._after else "pending"
        return Alert(rule.name, state, value, rule.threshold, since, rule.message(value))
