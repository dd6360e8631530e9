"""`bezel monitor report|rules`: how a running server does, and alerts for Prometheus."""

from __future__ import annotations

import json
from typing import Annotated

from bezel.cli import options
from bezel.cli.commands import Option, command, group


def report(
    url: Annotated[str, Option(envvar="BEZEL_URL", help="Where the server is.")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None, Option(envvar="BEZEL_API_KEY", help="A key with the scope metrics, if keys are asked for.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Ask a server for its last minutes: requests, tokens, percentiles, memory, keys, alerts."""
    from bezel.monitor.report import asked, lines

    found = asked(url, api_key)
    print(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(lines(found)))


def rules() -> None:
    """Print the alerts of [monitor] as rules for Prometheus."""
    from bezel.monitor.rules import rules_file
    from bezel.monitor.settings import MonitorSettings
    from bezel.settings import read_settings

    print(rules_file(read_settings(MonitorSettings, "monitor", {})), end="")


VERBS = group("monitor", "How a running server does.", [command("report", report), command("rules", rules)])
