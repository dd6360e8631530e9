"""The alerts as a file of rules for Prometheus."""

from __future__ import annotations

import json

from bezel.monitor.alerts import rules
from bezel.monitor.settings import MonitorSettings


def rules_file(settings: MonitorSettings) -> str:
    """YAML with one group. A text in JSON's quotes is one in YAML's."""
    lines = ["groups:", "  - name: bezel", "    rules:"]
    for rule in rules(settings):
        condition = f" and {rule.condition}" if rule.condition else ""
        written = "{{ $value | humanizePercentage }}" if rule.unit == "share" else "{{ $value | humanize }}"
        value = f"{written} s" if rule.unit == "seconds" else written
        text = rule.text.format(value=value, threshold=rule.written(rule.threshold))
        lines += [
            f"      - alert: {rule.name}",
            f"        expr: {json.dumps(f'({rule.expression}) > {rule.threshold:g}{condition}')}",
            f"        for: {round(settings.alert_after_seconds)}s",
            "        labels:",
            "          severity: warning",
            "        annotations:",
            f"          summary: {json.dumps(text)}",
        ]
    if len(lines) == 3:
        lines[-1] += " []"
    return "\n".join(lines) + "\n"
