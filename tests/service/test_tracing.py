"""Spans of requests to models: what stands in them, and what never does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bezel.errors import EngineError, InvalidRequestError
from bezel.service.tracing import OPERATIONS, Tracing
from bezel.testing import CounterBackend
from tests.service.live import Live, events, wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "canary-7f3a"


class Traced:
    """A server whose spans stay in memory."""

    def __init__(self, start: Callable[..., Live], backend: CounterBackend | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        backends = {"counter": backend} if backend else None
        self.live = start(backends=backends, tracing=Tracing(provider))

    def span(self) -> ReadableSpan:
        """The only one; they are written behind the answers."""
        wait_until(lambda: len(self.exporter.get_finished_spans()) > 0)
        (found,) = self.exporter.get_finished_spans()
        self.exporter.clear()
        return found


@pytest.fixture
def traced(start: Callable[..., Live]) -> Traced:
    return Traced(start)


def test_a_chat(traced: Traced) -> None:
    assert traced.live.chat(n=2).status_code == 200
    span = traced.span()
    assert (span.name, span.kind, span.parent) == ("chat counter", SpanKind.SERVER, None)
    found: dict[str, Any] = dict(span.attributes or {})
    assert found.pop("bezel.request_id").startswith("req_") and found.pop("bezel.key_id")
    assert 0 <= found.pop("bezel.queue_seconds") <= found["bezel.first_token_seconds"]
    assert 0 < found.pop("bezel.first_token_seconds") < 60
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "bezel",
        "gen_ai.request.model": "counter",
        "gen_ai.response.model": "counter",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 1,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.response.finish_reasons": ("stop", "stop"),
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": traced.live.port,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time is not None and span.end_time is not None and span.start_time < span.end_time


def test_what_a_request_belongs_to(traced: Traced) -> None:
    traced.live.chat({"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=1"})
    span = traced.span()
    assert span.parent is not None and span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE and f"{span.parent.span_id:016x}" == PARENT
    assert span.context.trace_state.get("a") == "1"
    for wrong in ("00-0-0-01", "x" * 5000, f"00-{'0' * 32}-{PARENT}-01"):
        traced.live.chat({"traceparent": wrong})
        assert traced.span().parent is None


@pytest.mark.parametrize(
    ("path", "body", "operation"),
    [
        ("/v1/completions", {"prompt": "one"}, "text_completion"),
        ("/v1/responses", {"input": "one"}, "chat"),
        ("/api/generate", {"prompt": "one"}, "text_completion"),
    ],
)
def test_other_operations(traced: Traced, path: str, body: dict[str, Any], operation: str) -> None:
    assert traced.live.client.post(path, json={"model": "counter", **body}).status_code == 200
    found = traced.span().attributes or {}
    assert (found["gen_ai.operation.name"], found["http.route"]) == (operation, path)


def test_errors(start: Callable[..., Live]) -> None:
    traced = Traced(start, CounterBackend(failure=EngineError(SECRET), fails_at=2))
    refused = traced.live.chat(model="none")
    span = traced.span()
    assert refused.status_code == 404 and (span.attributes or {})["error.type"] == "model_not_found"
    assert span.name == "chat" and span.status.status_code is StatusCode.UNSET, "the client's error is not the server's"
    events(traced.live.chat(stream=True))
    span = traced.span()
    assert (span.attributes or {})["error.type"] == "GENERATION_ERROR"
    assert span.status.status_code is StatusCode.ERROR and not span.events and SECRET not in span.to_json()


def test_no_content_whatever_the_environment_says(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    traced.live.chat(messages=[{"role": "system", "content": SECRET}, {"role": "user", "content": SECRET}], user=SECRET)
    text = traced.span().to_json()
    assert SECRET not in text and traced.live.secret not in text and "1 2 3" not in text


def test_other_addresses_are_not_traced(traced: Traced) -> None:
    for path in ("/health", "/v1/models", "/metrics", "/none"):
        traced.live.client.get(path)
    traced.live.chat()
    assert traced.span().name == "chat counter"


def test_every_operation_is_a_route(traced: Traced) -> None:
    assert set(OPERATIONS) <= {route.path for route in traced.live.app.routes if hasattr(route, "path")}


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Collector)
    server.got = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_go_where_the_environment_says(
    start: Callable[..., Live], collector: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=me")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    live = start(tracing=Tracing.from_environment())
    live.chat()
    live.log(1)
    live.stop()
    ((path, headers, body),) = collector.got  # type: ignore[attr-defined]
    assert path == "/v1/traces" and headers["x-tenant"] == "me"
    (sent,) = ExportTraceServiceRequest.FromString(body).resource_spans
    resource = {each.key: each.value.string_value for each in sent.resource.attributes}
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("bezel", "test")
    assert sent.scope_spans[0].spans[0].name == "chat counter"


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]
)
def test_what_is_not_spoken_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidRequestError, match=f"{name} is '{value}'"):
        Tracing.from_environment()


def test_where_it_is_disabled_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, start: Callable[..., Live]) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    traced = Traced(start)
    traced.live.chat()
    traced.live.log(1)
    assert traced.exporter.get_finished_spans() == ()
    assert json.loads(traced.live.log_text.getvalue())["status"] == 200
