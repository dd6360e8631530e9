"""What can be set of monitoring: when an alert is raised, and when a model counts as ill."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from bezel.errors import InvalidRequestError


@dataclass(frozen=True)
class MonitorSettings:
    """[monitor] of bezel.toml. An alert whose threshold is 0 is not watched.

    Raises InvalidRequestError for numbers out of range.
    """

    alert_window_seconds: float = 300.0
    """Over which percentiles and rates are taken."""
    alert_after_seconds: float = 60.0
    """For which a threshold must be passed before its alert is raised."""
    alert_first_token_p95_seconds: float = 10.0
    alert_latency_p95_seconds: float = 120.0
    """From a request's first byte to the end of its answer."""
    alert_error_rate: float = 0.05
    """Share of requests that the server failed."""
    alert_waiting: float = 32.0
    """Requests that wait for a model."""
    alert_memory_share: float = 0.9
    """Resident memory of the process, as a share of what this machine lets it have."""
    quality_share: float = 0.0
    """Of the answers that are judged (`monitor.quality`), 0 to 1."""
    quality_embedder: str = ""
    """A model that embeds, such as google/embeddinggemma-300m, by which relevance and accuracy are judged."""
    quality_references: str = ""
    """A file of right answers to questions that are asked now and then."""
    probe_degraded_seconds: float = 5.0
    """A probe that takes longer makes a model degraded."""
    probe_unhealthy_seconds: float = 30.0
    """And longer than this unhealthy; it is not waited for."""

    def __post_init__(self) -> None:
        ranges = {
            "alert_window_seconds": (10, 86_400),
            "alert_error_rate": (0, 1),
            "alert_memory_share": (0, 1),
            "alert_waiting": (0, 10**6),
            "quality_share": (0, 1),
            "probe_unhealthy_seconds": (0.001, 3_600),
        }
        for each in fields(self):
            low, high = ranges.get(each.name, (0, 86_400))
            value = getattr(self, each.name)
            if isinstance(value, str):
                continue
            if not math.isfinite(value) or not low <= value <= high:
                raise InvalidRequestError(f"{each.name} is {value!r}; it must lie between {low} and {high}")
