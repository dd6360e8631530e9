"""Numbers of the server for Prometheus, named as vLLM and OpenTelemetry's GenAI conventions name theirs."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bezel.catalog.hardware import gpu_memory

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


class Metrics:
    """Every name and label that is measured. Labels are models, routes and words of ours: never what clients send."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        model = ["model_name"]
        self.http_requests = Counter(
            "bezel_http_requests",
            "HTTP requests by route and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.http_seconds = Histogram(
            "bezel_http_request_duration_seconds",
            "From a request's first byte to the end of its answer.",
            ["route"],
            buckets=_LONG,
            registry=registry,
        )
        self.finished = Counter(
            "bezel_request_success", "Answers by what ended them.", [*model, "finished_reason"], registry=registry
        )
        self.prompt_tokens = Counter("bezel_prompt_tokens", "Tokens of prompts.", model, registry=registry)
        self.cached_tokens = Counter(
            "bezel_prompt_tokens_cached", "Tokens of prompts that were not read again.", model, registry=registry
        )
        self.generation_tokens = Counter("bezel_generation_tokens", "Tokens of answers.", model, registry=registry)
        self.first_token = Histogram(
            "bezel_time_to_first_token_seconds",
            "From a request's first byte to the first token.",
            model,
            buckets=_LONG,
            registry=registry,
        )
        self.inter_token = Histogram(
            "bezel_inter_token_latency_seconds", "Between tokens.", model, buckets=_SHORT, registry=registry
        )
        self.latency = Histogram(
            "bezel_e2e_request_latency_seconds",
            "From a request's first byte to the end of its answer, of those that got one.",
            model,
            buckets=_LONG,
            registry=registry,
        )
        self.requests = Counter(
            "bezel_generation_requests",
            "Requests to models by outcome: ok, refused, failed, gone.",
            ["outcome"],
            registry=registry,
        )
        self.policy = Counter(
            "bezel_policy_matches",
            "Texts in which a rule of the content policy found something.",
            ["rule", "action", "side"],
            registry=registry,
        )
        self.quality = Histogram(
            "bezel_answer_quality",
            "Scores of sampled answers, 0 (bad) to 1 (good), by what is judged and how.",
            [*model, "respect", "method"],
            buckets=[tenth / 10 for tenth in range(11)],
            registry=registry,
        )
        self.unjudged = Counter(
            "bezel_answers_unjudged", "Answers that were chosen and not judged, and why.", ["reason"], registry=registry
        )
        self.alert = Gauge("bezel_alert_firing", "1 while an alert is raised.", ["alert"], registry=registry)
        self.queue_seconds = Histogram(
            "bezel_request_queue_time_seconds", "Waiting for a lane.", model, buckets=_LONG, registry=registry
        )
        self.engine_restarts = Counter(
            "bezel_engine_restarts", "Engines that were started again after they ended.", model, registry=registry
        )
        self._running = Gauge("bezel_num_requests_running", "Answers being produced.", model, registry=registry)
        self._waiting = Gauge("bezel_num_requests_waiting", "Requests that wait.", model, registry=registry)

    def watch(self, model: str, running: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Ask these whenever somebody looks."""
        self._running.labels(model).set_function(running)
        self._waiting.labels(model).set_function(waiting)

    def unsettled(self, tokens: Callable[[], float]) -> None:
        """Ask for tokens that could not be given back to their keys' budgets whenever somebody looks."""
        name, says = "bezel_limits_unsettled_tokens", "Tokens that could not be given back to the budgets of keys."
        Gauge(name, says, registry=self._registry).set_function(tokens)

    def memory(self, resident: Callable[[], float], machine: float) -> None:
        """Ask for the process's bytes whenever somebody looks; `machine` is what it could have."""
        names = ("bezel_process_resident_memory_bytes", "bezel_machine_memory_bytes")
        Gauge(names[0], "Memory that the process holds.", registry=self._registry).set_function(resident)
        Gauge(names[1], "Memory that the machine lets it have.", registry=self._registry).set(machine)
        held = Gauge("bezel_gpu_memory_bytes", "Memory that the process holds on GPUs.", registry=self._registry)
        held.set_function(lambda: gpu_memory() or 0)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
