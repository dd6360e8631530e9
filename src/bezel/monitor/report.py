"""A server's own summary, asked for from outside and written for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bezel.errors import AccessDeniedError, EndpointError

_SECONDS = 30.0


def asked(url: str, key: str | None) -> dict[str, Any]:
    """What /v1/monitor of the server at `url` says.

    Raises AccessDeniedError where the key is not taken, EndpointError where there is no such server.
    """
    import httpx

    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        response = httpx.get(f"{url.rstrip('/')}/v1/monitor", headers=headers, timeout=_SECONDS)
        found = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise EndpointError(f"{url}: no server of bezel answers there ({type(error).__name__}); say --url") from None
    if response.status_code in (401, 403):
        raise AccessDeniedError(
            f"{url}: the key is not taken or lacks the scope metrics; set BEZEL_API_KEY to one that "
            "`bezel keys create NAME --scope metrics` made"
        )
    if response.status_code != 200 or not isinstance(found, dict) or "requests" not in found:
        raise EndpointError(f"{url}: answered {response.status_code}, and not as a server of bezel; say --url")
    return found


def lines(found: Mapping[str, Any]) -> list[str]:
    """A report as it is printed."""
    requests, tokens, memory = found["requests"], found["tokens"], found["memory"]
    rate = requests["error_rate"]
    errors = "" if rate is None else f", {100 * rate:.3g} % failed"
    said = [
        f"last {found['window_seconds']:g} s: {requests['count']} requests{errors}, {requests['refused']} refused",
        f"tokens: {tokens['prompt']} read ({tokens['cached']} cached), {tokens['generated']} written, "
        f"{tokens['generated_per_second']:.1f}/s now",
        _line("", "p50", "p95", "p99"),
    ]
    for name, what in (
        ("first token", "first_token_seconds"),
        ("between tokens", "inter_token_seconds"),
        ("whole answer", "latency_seconds"),
        ("in the queue", "queue_seconds"),
    ):
        said.append(_line(name, *(_seconds(found[what][share]) for share in ("p50", "p95", "p99"))))
    gpu = "" if memory["gpu_bytes"] is None else f", {_size(memory['gpu_bytes'])} on the GPU"
    said.append(f"memory: {_size(memory['resident_bytes'])} of {_size(memory['machine_bytes'])}{gpu}")
    said += [f"{m['id']}: {m['running']} running of {m['lanes']}, {m['waiting']} waiting" for m in found["models"]]
    said += [f"{q['model']}: {q['respect']} {q['mean']:.2f} of {q['count']} ({q['method']})" for q in found["quality"]]
    said += [f"key {k['name']}: {k['requests']} requests, {k['errors']} errors, {_tokens(k)}" for k in found["usage"]]
    said += [f"{a['state']}: {a['name']}: {a['message']}" for a in found["alerts"] if a["state"] != "ok"]
    return said


def _line(name: str, *values: str) -> str:
    return f"{name:<16}" + "".join(f"{value:>12}" for value in values)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _tokens(usage: Mapping[str, int]) -> str:
    return f"{usage['prompt_tokens']} tokens read, {usage['completion_tokens']} written"
