"""How the server does, in one object: what the dashboard, alerts and reports are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bezel.catalog.hardware import MemoryUse, gpu_memory
from bezel.monitor.recent import Recent
from bezel.monitor.sketch import Spread


@dataclass(frozen=True)
class Requests:
    """Of the window: `refused` for what the client did, `failed` for what the server did, `gone` with the client."""

    count: int
    refused: int
    failed: int
    gone: int
    per_second: float
    error_rate: float | None
    """`failed` of `count`; None without requests."""


@dataclass(frozen=True)
class Tokens:
    """Of the window; `generated_per_second` of the last sixtieth to thirtieth of it."""

    prompt: int
    cached: int
    generated: int
    generated_per_second: float


@dataclass(frozen=True)
class Memory:
    """Bytes: of the process, and of the machine as far as its limits let the process have it; None without a GPU."""

    resident_bytes: int
    peak_bytes: int
    machine_bytes: int
    gpu_bytes: int | None = None


@dataclass(frozen=True)
class Load:
    """How a model is used: answers in the making, requests that wait, and answers that can be made at once."""

    id: str
    running: int
    waiting: int
    lanes: int


@dataclass(frozen=True)
class Quality:
    """How answers of a model were judged in one respect by one method: 0 (bad) to 1 (good)."""

    model: str
    respect: str
    method: str
    count: int
    mean: float | None
    p50: float | None


@dataclass(frozen=True)
class Summary:
    """Times in seconds. Percentiles are exact to 1%."""

    window_seconds: float
    requests: Requests
    tokens: Tokens
    latency_seconds: Spread
    first_token_seconds: Spread
    inter_token_seconds: Spread
    queue_seconds: Spread
    memory: Memory
    models: Sequence[Load]
    quality: Sequence[Quality] = ()


@dataclass(frozen=True)
class Moment:
    """A slot of the window, for plots; None where nothing was measured."""

    tokens_per_second: float
    requests_per_minute: float
    first_token_p95: float | None
    inter_token_p95: float | None
    running: float | None
    waiting: float | None
    resident_bytes: float | None


def summarise(
    recent: Recent,
    models: Sequence[Load],
    memory: MemoryUse,
    machine_bytes: int,
    judged: Iterable[tuple[str, str, str]] = (),
) -> Summary:
    """What stands in a window under the names that `service.watching` uses, and what is true now.

    `judged`: the models, respects and methods of which there are scores.
    """
    outcomes = {name: recent.total(name) for name in ("ok", "refused", "failed", "gone")}
    count = sum(outcomes.values())
    return Summary(
        recent.seconds,
        Requests(
            count,
            outcomes["refused"],
            outcomes["failed"],
            outcomes["gone"],
            recent.per_second("requests"),
            outcomes["failed"] / count if count else None,
        ),
        Tokens(
            recent.total("prompt"),
            recent.total("cached"),
            recent.total("generated"),
            recent.per_second("generated", slots=2),
        ),
        recent.spread("latency"),
        recent.spread("first_token"),
        recent.spread("inter_token"),
        recent.spread("queue"),
        Memory(memory.resident, memory.peak, machine_bytes, gpu_memory()),
        models,
        [Quality(*each, spread.count, spread.mean, spread.p50) for each, spread in _scores(recent, judged)],
    )


def score_name(model: str, respect: str, method: str) -> str:
    """Under which scores stand in a window."""
    return f"score {model} {respect} {method}"


def _scores(recent: Recent, judged: Iterable[tuple[str, str, str]]) -> Iterator[tuple[tuple[str, str, str], Spread]]:
    for each in judged:
        spread = recent.spread(score_name(*each))
        if spread.count:
            yield each, spread


def series(recent: Recent) -> list[Moment]:
    """The window slot by slot, the oldest first."""
    columns = zip(
        recent.rates("generated"),
        (60 * rate for rate in recent.rates("requests")),
        recent.p95s("first_token"),
        recent.p95s("inter_token"),
        *(recent.levels(name) for name in ("running", "waiting", "resident")),
        strict=True,
    )
    return [Moment(*row) for row in columns]
