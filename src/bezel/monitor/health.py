"""Whether a model that was asked for a token is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bezel.monitor.settings import MonitorSettings

Status = Literal["healthy", "degraded", "unhealthy"]
_ORDER: tuple[Status, ...] = ("healthy", "degraded", "unhealthy")


@dataclass(frozen=True)
class Probe:
    """One token was asked of a model: `seconds` until it came, or until it was given up. `error` names what failed."""

    model: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Health:
    """How a model is, and why it is not better."""

    status: Status
    reasons: Sequence[str] = ()


def judged(probe: Probe, settings: MonitorSettings) -> Health:
    """A model's health by its probe."""
    if probe.error is not None:
        return Health("unhealthy", (f"{probe.model} gives no token: {probe.error}.",))
    if probe.seconds > settings.probe_unhealthy_seconds:
        limit = settings.probe_unhealthy_seconds
        return Health("unhealthy", (f"{probe.model} gave no token in {limit:g} s.",))
    if probe.seconds > settings.probe_degraded_seconds:
        limit = settings.probe_degraded_seconds
        return Health("degraded", (f"{probe.model} took {probe.seconds:.3g} s for a token, more than {limit:g} s.",))
    return Health("healthy")


def together(parts: Sequence[Health], doubts: Sequence[str] = ()) -> Health:
    """The worst of several, degraded at least where there are doubts."""
    worst = max((_ORDER.index(part.status) for part in parts), default=0)
    reasons = [reason for part in parts for reason in part.reasons]
    return Health(_ORDER[max(worst, 1 if doubts else 0)], (*reasons, *doubts))
