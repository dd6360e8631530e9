"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from bezel.monitor.metrics import Metrics


def test_what_is_counted_can_be_read() -> None:
    metrics, now = Metrics(), {"running": 2.0, "waiting": 3.0}
    metrics.watch("m", lambda: now["running"], lambda: now["waiting"])
    metrics.generation_tokens.labels("m").inc(7)
    metrics.first_token.labels("m").observe(0.3)
    families = {family.name: family for family in text_string_to_metric_families(metrics.page().decode())}
    values = {sample.name: sample.value for family in families.values() for sample in family.samples}
    assert values["bezel_num_requests_running"] == 2 and values["bezel_num_requests_waiting"] == 3
    assert values["bezel_generation_tokens_total"] == 7 and values["bezel_time_to_first_token_seconds_count"] == 1
    assert all(name.startswith("bezel_") for name in families)
    now["running"] = 5
    assert 'bezel_num_requests_running{model_name="m"} 5.0' in metrics.page().decode()


def test_two_servers_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.prompt_tokens.labels("m").inc()
    assert "bezel_prompt_tokens_total{" not in two.page().decode()
