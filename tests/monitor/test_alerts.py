"""When alerts are raised, and their rules for Prometheus."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bezel.catalog.hardware import MemoryUse
from bezel.errors import InvalidRequestError
from bezel.monitor.alerts import FEWEST, Alerts, rules
from bezel.monitor.metrics import Metrics
from bezel.monitor.recent import Recent
from bezel.monitor.rules import rules_file
from bezel.monitor.settings import MonitorSettings
from bezel.monitor.summary import Load, Summary, summarise

SETTINGS = MonitorSettings(alert_after_seconds=60)


def summary(
    failed: int = 0, ok: int = 0, first: float = 0.1, latency: float = 0.1, waiting: int = 0, held: int = 1
) -> Summary:
    recent = Recent(300.0)
    recent.count("failed", failed)
    recent.count("ok", ok)
    recent.time("first_token", first)
    recent.time("latency", latency)
    return summarise(recent, [Load("m", 1, waiting, 8), Load("n", 0, waiting, 8)], MemoryUse(held, held), 100)


def states(alerts: Alerts, found: Summary) -> dict[str, str]:
    return {alert.name: alert.state for alert in alerts.evaluate(found) if alert.state != "ok"}


@pytest.mark.parametrize(
    "name, inside, beyond",
    [
        ("BezelFirstTokenSlow", {"first": 9.8}, {"first": 10.2}),
        ("BezelAnswersSlow", {"latency": 117.0}, {"latency": 123.0}),
        ("BezelErrors", {"failed": 5, "ok": 95}, {"failed": 6, "ok": 94}),
        ("BezelErrors", {"failed": FEWEST - 1}, {"failed": FEWEST}),
        ("BezelQueueLong", {"waiting": 16}, {"waiting": 17}),
        ("BezelMemoryFull", {"held": 90}, {"held": 91}),
    ],
)
def test_each_threshold(name: str, inside: dict[str, Any], beyond: dict[str, Any]) -> None:
    alerts = Alerts(replace(SETTINGS, alert_after_seconds=0))
    assert states(alerts, summary(**inside)) == {}
    assert states(alerts, summary(**beyond)) == {name: "firing"}


def test_an_alert_waits_and_ends() -> None:
    now = [1000.0]
    alerts = Alerts(SETTINGS, lambda: now[0])
    bad = summary(held=95)
    assert states(alerts, bad) == {"BezelMemoryFull": "pending"}
    now[0] += 59
    assert states(alerts, bad) == {"BezelMemoryFull": "pending"}
    now[0] += 1
    (raised,) = [alert for alert in alerts.evaluate(bad) if alert.state == "firing"]
    assert (raised.since, raised.value) == (1000.0, 0.95)
    assert raised.message == "The process holds 95 % of the memory, more than 90 %."
    assert states(alerts, summary()) == {}
    assert states(alerts, bad) == {"BezelMemoryFull": "pending"}, "its time begins anew"


def test_what_is_set_to_0_is_not_watched() -> None:
    names = {rule.name for rule in rules(MonitorSettings(alert_waiting=0.0, alert_error_rate=0.0))}
    assert names == {"BezelFirstTokenSlow", "BezelAnswersSlow", "BezelMemoryFull"}


@pytest.mark.parametrize("name, value", [("alert_error_rate", 1.5), ("alert_window_seconds", 1.0)])
def test_settings_have_ranges(name: str, value: float) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        MonitorSettings(**{name: value})


def test_rules_ask_for_what_is_measured() -> None:
    metrics = Metrics()
    metrics.memory(lambda: 1.0, 2.0)
    metrics.watch("m", lambda: 0, lambda: 0)
    metrics.first_token.labels("m").observe(1)
    metrics.latency.labels("m").observe(1)
    metrics.requests.labels("failed").inc()
    families = text_string_to_metric_families(metrics.page().decode())
    measured = {sample.name for family in families for sample in family.samples}
    asked = {name for rule in rules(SETTINGS) for name in re.findall(r"bezel_\w+", rule.expression + rule.condition)}
    assert asked <= measured and len(asked) == 6


def test_promtool_takes_the_rules_and_raises_them(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    (tmp_path / "rules.yml").write_text(rules_file(SETTINGS), "utf-8")
    done = subprocess.run([promtool, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "5 rules found" in done.stdout, done.stdout + done.stderr
    (tmp_path / "tests.yml").write_text(_RULE_TESTS, "utf-8")
    done = subprocess.run([promtool, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "rules.yml").write_text(rules_file(MonitorSettings(*[300.0, 60.0, *[0.0] * 5])), "utf-8")
    done = subprocess.run([promtool, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "0 rules found" in done.stdout, done.stdout + done.stderr


_RULE_TESTS = """
rule_files: [rules.yml]
evaluation_interval: 30s
tests:
  - interval: 30s
    input_series:
      - series: 'bezel_generation_requests_total{job="b", instance="i", outcome="ok"}'
        values: '0+9x20'
      - series: 'bezel_generation_requests_total{job="b", instance="i", outcome="failed"}'
        values: '0+1x20'
      - series: 'bezel_time_to_first_token_seconds_bucket{job="b", instance="i", model_name="m", le="10.0"}'
        values: '0+5x20'
      - series: 'bezel_time_to_first_token_seconds_bucket{job="b", instance="i", model_name="m", le="20.0"}'
        values: '0+9x20'
      - series: 'bezel_time_to_first_token_seconds_bucket{job="b", instance="i", model_name="m", le="+Inf"}'
        values: '0+9x20'
      - series: 'bezel_num_requests_waiting{job="b", instance="i", model_name="m"}'
        values: '32x20'
      - series: 'bezel_process_resident_memory_bytes{job="b", instance="i"}'
        values: '95x20'
      - series: 'bezel_machine_memory_bytes{job="b", instance="i"}'
        values: '100x20'
    alert_rule_test:
      - eval_time: 10m
        alertname: BezelErrors
        exp_alerts:
          - exp_labels: {severity: warning, job: b, instance: i}
            exp_annotations: {summary: "10% of the requests failed, more than 5 %."}
      - eval_time: 10m
        alertname: BezelFirstTokenSlow
        exp_alerts:
          - exp_labels: {severity: warning, job: b, instance: i}
            exp_annotations: {summary: "p95 of the time to the first token is 18.88 s, above 10 s."}
      - eval_time: 10m
        alertname: BezelQueueLong
        exp_alerts: []
      - eval_time: 10m
        alertname: BezelMemoryFull
        exp_alerts:
          - exp_labels: {severity: warning, job: b, instance: i}
            exp_annotations: {summary: "The process holds 95% of the memory, more than 90 %."}
"""
