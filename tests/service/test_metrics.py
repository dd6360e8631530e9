"""What the server measures of its answers."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from bezel.testing import CounterBackend
from tests.service.live import Live


def test_an_answer_is_measured(start: Callable[..., Live]) -> None:
    live = start(backends={"counter": CounterBackend(count=5, delay=0.01)})
    live.chat()
    live.chat(stream=True, max_tokens=2)
    live.client.get("/v1/unknown")
    live.log(3)
    response = live.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    values: dict[str, float] = {}
    routes = set()
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
            routes.add(sample.labels.get("route"))
    assert values["bezel_prompt_tokens_total"] == 6 and values["bezel_generation_tokens_total"] == 7
    assert values["bezel_prompt_tokens_cached_total"] == 2 and values["bezel_request_success_total"] == 2
    assert values["bezel_time_to_first_token_seconds_count"] == 2
    assert values["bezel_inter_token_latency_seconds_count"] == 5
    assert values["bezel_inter_token_latency_seconds_sum"] >= 0.045
    assert values["bezel_request_queue_time_seconds_count"] == 2
    assert values["bezel_num_requests_running"] == values["bezel_num_requests_waiting"] == 0
    assert routes == {None, "/v1/chat/completions", "unknown"}, "what clients send is no label"
