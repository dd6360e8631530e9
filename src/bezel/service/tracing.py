"""A span of OpenTelemetry for each request to a model, named as its GenAI conventions name things; never content."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bezel import __version__
from bezel.errors import InvalidRequestError
from bezel.service.exchange import Exchange

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/responses": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/translations": "transcription",
    "/api/chat": "chat",
    "/api/generate": "text_completion",
}
"""Routes whose requests are traced, and what the conventions call them (transcriptions have no word there)."""
Value = str | int | float | list[str]


class Tracing:
    """Writes spans to a provider, which it owns."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._context = TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer("bezel", __version__)

    @classmethod
    def from_environment(cls) -> Tracing:
        """As the variables OTEL_* of the environment say: where to, of which service, which share, how often.

        Raises InvalidRequestError for an exporter or a protocol that is not spoken here, ModuleNotFoundError where the
        exporter is not installed.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        _only("OTEL_TRACES_EXPORTER", "otlp")
        for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            _only(name, "http/protobuf")
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "bezel"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def record(self, exchange: Exchange) -> None:
        """The span of a request that has ended; none for one to something else than a model."""
        operation = OPERATIONS.get(exchange.route)
        if operation is None:
            return
        now = time.time_ns()
        began = now - round(1e9 * (time.perf_counter() - exchange.started))
        span = self._tracer.start_span(
            f"{operation} {exchange.model}" if exchange.model else operation,
            context=self._context.extract(exchange.trace),
            kind=SpanKind.SERVER,
            attributes=_attributes(operation, exchange),
            start_time=began,
        )
        if exchange.cause is not None or exchange.status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end(now)

    def close(self) -> None:
        """Send what has not been sent, and let go of the provider. May wait for the collector."""
        self._provider.shutdown()


def _attributes(operation: str, exchange: Exchange) -> Mapping[str, Value]:
    host, port = exchange.server
    found: dict[str, Value | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "bezel",
        "gen_ai.request.model": exchange.model,
        "gen_ai.response.model": exchange.model,
        "gen_ai.usage.input_tokens": exchange.prompt_tokens or None,
        "gen_ai.usage.cache_read.input_tokens": exchange.cached_tokens or None,
        "gen_ai.usage.output_tokens": exchange.completion_tokens or None,
        "gen_ai.response.finish_reasons": list(exchange.finish_reasons) or None,
        "http.request.method": exchange.method,
        "http.route": exchange.route,
        "http.response.status_code": exchange.status or None,
        "server.address": host or None,
        "server.port": port or None,
        "error.type": exchange.error,
        "bezel.request_id": exchange.request_id,
        "bezel.key_id": exchange.key.id if exchange.key else None,
        "bezel.queue_seconds": exchange.queue_seconds,
        "bezel.first_token_seconds": exchange.first_token_seconds,
    }
    return {name: value for name, value in found.items() if value is not None}


def _only(name: str, value: str) -> None:
    found = os.environ.get(name, value)
    if found != value:
        raise InvalidRequestError(f"{name} is {found!r}; traces leave here as {value} alone, so set that or nothing")
