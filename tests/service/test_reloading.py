"""Settings that are changed while the server runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bezel.monitor.settings import MonitorSettings
from bezel.safety.settings import PolicySettings
from bezel.service.reloading import LIVE, AllSettings, reload
from bezel.service.settings import ServerSettings
from bezel.settings import read_settings
from bezel.testing import CounterBackend
from tests.service.live import Live, wait_until


class Reloadable:
    """A running server whose settings stand in a file."""

    def __init__(self, start: Callable[..., Live], folder: Path) -> None:
        self.file = folder / "bezel.toml"
        self.gate = threading.Event()
        self.gate.set()
        self.live = start(backends={"counter": CounterBackend(gate=self.gate)}, max_num_seqs=1)
        self._base = {"port": 0, "api_key_db": str(folder / "keys.sqlite3"), "max_num_seqs": 1}

    def reload(self, text: str) -> dict[str, Any]:
        """The event that the log tells."""
        self.file.write_text(text)
        reload(
            self.live.server,
            lambda: AllSettings(
                read_settings(ServerSettings, "serve", self._base, {}, self.file),
                read_settings(MonitorSettings, "monitor", {}, {}, self.file),
                read_settings(PolicySettings, "policy", {}, {}, self.file),
            ),
        )
        return [line for line in self.live.log() if "event" in line][-1]


@pytest.fixture
def reloadable(start: Callable[..., Live], tmp_path: Path) -> Reloadable:
    return Reloadable(start, tmp_path)


def test_limits_hold_from_the_next_request_on(reloadable: Reloadable) -> None:
    live = reloadable.live
    assert live.chat().headers["x-ratelimit-limit-requests"] == "600"
    event = reloadable.reload("[serve]\nrate_limit = 70\ntoken_limit = 100")
    assert (event["event"], event["detail"]) == ("settings_reloaded", "changed: rate_limit, token_limit")
    answer = live.chat(max_tokens=2)
    assert answer.headers["x-ratelimit-limit-requests"] == "70" and answer.headers["x-ratelimit-limit-tokens"] == "100"
    assert live.chat(max_tokens=1000).status_code == 429
    assert reloadable.reload("")["detail"] == "changed: rate_limit, token_limit"
    assert live.chat(max_tokens=1000).status_code == 200


def test_a_policy_of_content(reloadable: Reloadable, tmp_path: Path) -> None:
    live, rules = reloadable.live, tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "zeus"\naction = "block"\nwords = ["Zeus"]')
    asks = [{"role": "user", "content": "Who is Zeus?"}]
    assert live.chat(messages=asks).status_code == 200
    told = f'[policy]\nrules = "{rules}"'
    assert reloadable.reload(told)["detail"] == "changed: policy"
    assert live.chat(messages=asks).json()["error"]["code"] == "CONTENT_FILTERED"
    assert reloadable.reload(told)["detail"] == "changed: nothing"
    rules.write_text(rules.read_text().replace("Zeus", "Hera"))
    assert reloadable.reload(told)["detail"] == "changed: policy"
    assert live.chat(messages=asks).status_code == 200
    rules.write_text("[[rule]]")
    assert reloadable.reload(told)["event"] == "settings_refused"
    assert live.chat(messages=[{"role": "user", "content": "Who is Hera?"}]).status_code != 200


def test_sizes_and_texts(reloadable: Reloadable) -> None:
    live = reloadable.live
    reloadable.reload("[serve]\nmax_text_chars = 5")
    assert live.chat().json()["error"]["code"] == "VALIDATION_ERROR"
    reloadable.reload("[serve]\nmax_body_bytes = 1024")
    assert live.chat().status_code == 200
    assert live.chat(messages=[{"role": "user", "content": "a" * 2000}]).status_code == 413


def test_the_queue(reloadable: Reloadable) -> None:
    live = reloadable.live
    reloadable.gate.clear()
    first = threading.Thread(target=live.chat)
    first.start()
    wait_until(lambda: live.lanes().running == 1)
    reloadable.reload("[serve]\nmax_queue = 0")
    assert live.chat().status_code == 503
    reloadable.reload("[serve]\nmax_queue = 1\nqueue_seconds = 0.01")
    assert live.chat().json()["error"]["message"].startswith("The request has waited too long")
    reloadable.gate.set()
    first.join()


def test_the_level_of_the_log(reloadable: Reloadable) -> None:
    live = reloadable.live
    reloadable.reload('[serve]\nlog_level = "warning"')
    live.chat()
    live.chat(model="none")
    wait_until(lambda: any(line.get("status") == 404 for line in live.log()))
    reloadable.reload('[serve]\nlog_level = "error"')
    live.chat(model="none")
    reloadable.reload("")
    live.chat()
    wait_until(lambda: live.log()[-1].get("status") == 200)
    assert [line["status"] for line in live.log() if "status" in line] == [404, 200]


def test_alerts(reloadable: Reloadable) -> None:
    live = reloadable.live

    def states() -> dict[str, str]:
        return {alert["name"]: alert["state"] for alert in live.client.get("/v1/monitor").json()["alerts"]}

    assert states()["BezelMemoryFull"] == "ok"
    reloadable.reload("[monitor]\nalert_memory_share = 0.000001\nalert_after_seconds = 0")
    assert states()["BezelMemoryFull"] == "firing"
    assert 'bezel_alert_firing{alert="BezelMemoryFull"} 1.0' in live.client.get("/metrics").text
    reloadable.reload("[monitor]\nalert_memory_share = 0")
    assert "BezelMemoryFull" not in states()
    assert "BezelMemoryFull" not in live.client.get("/metrics").text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[serve]\nrate_limit = -1", "InvalidRequestError: rate_limit is -1"),
        ("[serve]\nrate_limt = 1", "has no setting 'rate_limt'"),
        ("[serve]\nrate_limit = 'x'", "rate_limit is 'x'"),
        ("[serve]\nlog_level = 'loud'", "choose from info"),
        ("[monitor]\nalert_error_rate = 2", "alert_error_rate is 2"),
        ("[serve", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_changes_nothing(reloadable: Reloadable, text: str, told: str) -> None:
    reloadable.reload("[serve]\nrate_limit = 70")
    before = reloadable.live.server.settings, reloadable.live.server.watch.settings
    event = reloadable.reload(text)
    assert event["event"] == "settings_refused" and told in event["detail"]
    assert (reloadable.live.server.settings, reloadable.live.server.watch.settings) == before
    assert reloadable.live.chat().headers["x-ratelimit-limit-requests"] == "70"


def test_what_needs_a_restart_is_named_and_stays(reloadable: Reloadable) -> None:
    event = reloadable.reload(
        '[serve]\nrate_limit = 70\nallowed_hosts = ["a.b"]\nhost = "::1"\n[monitor]\nalert_window_seconds = 60'
    )
    assert event["detail"] == "changed: rate_limit; need a restart: host, allowed_hosts, alert_window_seconds"
    settings = reloadable.live.server.settings
    assert (settings.rate_limit, settings.host, settings.allowed_hosts) == (70, "127.0.0.1", ())
    assert reloadable.live.server.watch.settings.alert_window_seconds == 300


def test_every_live_setting_is_one() -> None:
    assert {each.name for kind in (ServerSettings, MonitorSettings) for each in fields(kind)} > LIVE
