"""What the server says of itself: /v1/monitor, /health/deep, usage of keys, and the report of the command line."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bezel.cli.main import app
from bezel.errors import AccessDeniedError, EndpointError, StorageError
from bezel.service.keys import KeyStore
from bezel.service.routes.page import _FILES
from bezel.service.usage import Usage, UsageStore
from bezel.testing import CounterBackend
from tests.service.live import Live, wait_until


class Ill(CounterBackend):
    """`health` waits for `well`, or raises."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.well, self.probes, self._illness = threading.Event(), 0, failure

    def health(self) -> Mapping[str, Any]:
        self.probes += 1
        if self._illness is not None:
            raise self._illness
        assert self.well.wait(60)
        return super().health()


def test_a_summary(start: Callable[..., Live]) -> None:
    failing = CounterBackend(failure=RuntimeError(), fails_at=3)
    live = start(backends={"counter": CounterBackend(count=5, delay=0.02), "failing": failing})
    one, two = live.key("generate"), live.key("generate", rate_limit=1)
    live.chat(one)
    live.chat(one, stream=True)
    live.chat(one, model="failing", stream=True)
    live.chat(one, model="unknown")
    live.chat(two)
    live.chat(two)
    live.client.get("/v1/models")
    live.client.get("/v1/unknown")
    live.log(8)
    found = live.client.get("/v1/monitor").json()
    requests, tokens = found["requests"], found["tokens"]
    assert {name: requests[name] for name in ("count", "refused", "failed", "gone")} == {
        "count": 6,
        "refused": 2,
        "failed": 1,
        "gone": 0,
    }
    assert requests["error_rate"] == pytest.approx(1 / 6)
    assert tokens["generated"] == 17 and tokens["generated_per_second"] > 0 and tokens["prompt"] >= 9
    assert found["latency_seconds"]["count"] == 3 and found["latency_seconds"]["p50"] >= 0.09
    assert found["inter_token_seconds"]["count"] == 13 and found["inter_token_seconds"]["p50"] < 1
    assert found["first_token_seconds"]["p50"] >= 0.0198 and found["queue_seconds"]["count"] == 4
    assert [model["id"] for model in found["models"]] == ["counter", "failing"]
    assert found["memory"]["machine_bytes"] > found["memory"]["resident_bytes"] > 1 << 20
    assert {alert["state"] for alert in found["alerts"]} == {"ok"} and len(found["alerts"]) == 5
    assert len(found["series"]) == 59
    first, second = found["usage"]
    assert (first["requests"], first["errors"], first["completion_tokens"]) == (4, 2, 12)
    assert (second["requests"], second["errors"], second["completion_tokens"]) == (2, 1, 5)


def test_the_metrics_of_a_summary(start: Callable[..., Live]) -> None:
    live = start(watched={"alert_memory_share": 1e-9, "alert_after_seconds": 0.0})
    live.chat()
    live.log(1)
    (alert,) = [each for each in live.client.get("/v1/monitor").json()["alerts"] if each["state"] == "firing"]
    assert alert["name"] == "BezelMemoryFull" and "of the memory" in alert["message"]
    metrics = live.client.get("/metrics").text
    assert 'bezel_alert_firing{alert="BezelMemoryFull"} 1.0' in metrics
    assert 'bezel_alert_firing{alert="BezelErrors"} 0.0' in metrics
    assert 'bezel_generation_requests_total{outcome="ok"} 1.0' in metrics
    assert 'bezel_e2e_request_latency_seconds_count{model_name="counter"} 1.0' in metrics
    deep = live.client.get("/health/deep")
    assert (deep.status_code, deep.json()["status"]) == (200, "degraded")
    moving = re.compile(r"[\d.e-]+ %")  # the share of the memory moves meanwhile
    assert moving.sub("%", alert["message"]) in [moving.sub("%", reason) for reason in deep.json()["reasons"]]


def test_who_may_see(start: Callable[..., Live]) -> None:
    live = start()
    for path in ("/v1/monitor", "/health/deep"):
        assert live.client.get(path, headers={"authorization": ""}).status_code == 401
        assert live.client.get(path, headers=live.key("generate", "models")).status_code == 403
        assert live.client.get(path, headers=live.key("metrics")).status_code == 200
        assert live.client.get(path).headers["cache-control"] == "no-store"


def test_a_model_is_asked_whether_it_lives(start: Callable[..., Live]) -> None:
    ill = Ill()
    live = start(backends={"ill": ill}, watched={"probe_degraded_seconds": 0.0, "probe_unhealthy_seconds": 0.05})
    for _ in range(3):
        sick = live.client.get("/health/deep")
        assert sick.status_code == 503 and sick.json()["status"] == "unhealthy"
        assert sick.json()["reasons"] == ["ill gave no token in 0.05 s."]
    ill.well.set()
    looks = []

    def better() -> bool:
        looks.append(live.client.get("/health/deep").json()["status"])
        return looks[-1] == "degraded"

    wait_until(better)
    assert ill.probes <= 1 + len(looks), "one that hangs is asked once, however many look"
    live = start(backends={"well": CounterBackend()})
    found = live.client.get("/health/deep").json()
    assert found.pop("seconds") < 30
    assert found == {"status": "healthy", "reasons": [], "models": {"well": {"status": "healthy", "reasons": []}}}
    live = start(backends={"broken": Ill(RuntimeError("secret")), "well": CounterBackend()})
    found = live.client.get("/health/deep").json()
    assert found["reasons"] == ["broken gives no token: RuntimeError."] and "secret" not in str(found)
    assert found["models"]["well"]["status"] == "healthy"


def test_usage_outlives_the_server_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.sqlite3"
    KeyStore(path).close()
    one, two = UsageStore(path), UsageStore(path)
    for store in (one, two):
        store.add("a", Usage(1, 0, 10, 2, 5))
    assert two.by_key() == {"a": Usage(1, 0, 10, 2, 5)}, "the other has not written yet"
    one.flush()
    assert two.by_key() == {"a": Usage(2, 0, 20, 4, 10)} and two.by_key("2999-01-01") == {}
    one.add("b", Usage(1, 1))
    one._base.execute("PRAGMA query_only = 1").close()
    with pytest.raises(StorageError, match="cannot be written"):
        one.flush()
    one.add("b", Usage(1, 0, 3))
    one._base.execute("PRAGMA query_only = 0").close()
    one.close()
    assert two.by_key()["b"] == Usage(2, 1, 3)
    two.close()


def test_the_report(start: Callable[..., Live]) -> None:
    live = start()
    live.chat()
    live.log(1)
    arguments = ["monitor", "report", "--url", live.url, "--api-key", live.secret]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(done.output)["requests"]["count"] == 1
    said = CliRunner().invoke(app, arguments).output
    assert "1 requests, 0 % failed, 0 refused" in said and "3 read (1 cached), 5 written" in said
    assert "key all: 1 requests, 0 errors" in said and "counter: 0 running of 8, 0 waiting" in said
    refused = CliRunner().invoke(app, [*arguments[:-1], "bz-wrong"])
    assert isinstance(refused.exception, AccessDeniedError) and "--scope metrics" in str(refused.exception)
    gone = CliRunner().invoke(app, ["monitor", "report", "--url", "http://127.0.0.1:9"])
    assert isinstance(gone.exception, EndpointError)


def test_rules_follow_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bezel.toml").write_text("[monitor]\nalert_waiting = 7\nalert_error_rate = 0.0\n", "utf-8")
    said = CliRunner().invoke(app, ["monitor", "rules"]).output
    assert "(bezel_num_requests_waiting)) > 7" in said and "BezelErrors" not in said


def test_the_page_is_served_to_everybody_with_strict_headers(start: Callable[..., Live]) -> None:
    live = start()
    assert {"index.html", "page.css", "app.js", "icon.svg"} <= set(_FILES)
    for path in ("/", *(f"/page/{name}" for name in _FILES if name != "index.html")):
        response = live.client.get(path, headers={"authorization": ""})
        policy = response.headers["content-security-policy"]
        assert response.status_code == 200 and "unsafe" not in policy and "default-src 'none'" in policy
        assert response.headers["x-frame-options"] == "DENY" and response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "http" not in policy and live.secret not in response.text
    for path in ("/page/..%2f..%2fkeys.py", "/page/page.py", "/page/"):
        assert live.client.get(path).status_code == 404
    assert live.client.get("/v1/models").headers["cache-control"] == "no-store"


def test_a_model_says_what_it_takes(start: Callable[..., Live]) -> None:
    class Seeing(CounterBackend):
        def describe(self) -> Mapping[str, Any]:
            return {**super().describe(), "images": True, "sounds": False}

    live = start(backends={"seeing": Seeing(), "counter": CounterBackend()})
    assert live.client.get("/v1/models/seeing").json()["modalities"] == ["text", "image"]
    assert [each["modalities"] for each in live.client.get("/v1/models").json()["data"]] == [
        ["text", "image"],
        ["text"],
    ]
