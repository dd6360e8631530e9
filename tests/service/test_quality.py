"""A share of a server's answers is judged, and shown as numbers alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bezel.cli.serve import _judge
from bezel.errors import InvalidRequestError
from bezel.monitor.quality import Answered, Judge, Score
from bezel.monitor.settings import MonitorSettings
from bezel.safety.content import ContentPolicy
from bezel.safety.patterns import Pattern
from bezel.safety.rules import Rule
from tests.service.live import Live, wait_until


class Noting(Judge):
    """Notes what is to be judged."""

    seen: list[Answered]

    def scores(self, answered: Answered) -> list[Score]:
        self.seen.append(answered)
        return super().scores(answered)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Answered]:
    found: list[Answered] = []
    monkeypatch.setattr(Noting, "seen", found, raising=False)
    return found


def quality(live: Live) -> list[dict[str, Any]]:
    return list(live.client.get("/v1/monitor").json()["quality"])


def test_answers_are_judged_and_their_scores_shown(start: Callable[..., Live], seen: list[Answered]) -> None:
    rule = Rule("odd", "flag", (Pattern("7"),), ("output",))
    live = start(rate_limit=0, watched={"quality_share": 1.0}, judge=Noting(), policy=ContentPolicy((rule,)))
    live.chat()
    live.chat(stream=True, max_tokens=2)
    wait_until(lambda: len(quality(live)) == 2 and all(each["count"] == 2 for each in quality(live)))
    coherence, safety = sorted(quality(live), key=lambda each: each["respect"])
    assert coherence["mean"] == pytest.approx(0.60653, rel=1e-3) and coherence["model"] == "counter"
    assert safety["mean"] == 1.0 and safety["method"] == "no rule finds something"
    assert [(each.question, each.answer, list(each.logprobs)) for each in seen] == [
        ("one two three", "1 2 3 4 5", [-0.5] * 5),
        ("one two three", "1 2", [-0.5] * 2),
    ]
    metrics = live.client.get("/metrics").text
    label = 'method="1 / perplexity to the model itself",model_name="counter",respect="coherence"'
    assert f"bezel_answer_quality_count{{{label}}} 2.0" in metrics
    assert "1 2 3 4 5" not in live.log_text.getvalue() + metrics


def test_nothing_is_judged_unless_asked_for(start: Callable[..., Live], seen: list[Answered]) -> None:
    live = start(judge=Noting())
    live.chat()
    assert quality(live) == [] and not seen


def test_a_share_is_a_share(start: Callable[..., Live], seen: list[Answered]) -> None:
    live = start(watched={"quality_share": 0.5}, judge=Noting(), rate_limit=0)
    for _ in range(60):
        live.chat(max_tokens=1)
    wait_until(lambda: sum(each["count"] for each in quality(live)) == len(seen))
    assert 10 < len(seen) < 50


def test_answers_that_were_broken_off_and_calls_without_words_have_no_score(
    start: Callable[..., Live], seen: list[Answered]
) -> None:
    live = start(rate_limit=0, watched={"quality_share": 1.0}, judge=Noting(), policy=ContentPolicy(
        (Rule("three", "block", (Pattern("3"),), ("output",)),)
    ))  # fmt: skip
    live.chat()
    live.chat(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
              max_tokens=1)  # fmt: skip
    wait_until(lambda: len(quality(live)) == 2)
    assert [each.question for each in seen] == ["a\nb"]


def test_a_judge_that_is_slow_or_fails_holds_nothing_up(start: Callable[..., Live]) -> None:
    gate = threading.Event()

    def slow(question: str, answer: str) -> Score | None:
        gate.wait()
        return None

    live = start(watched={"quality_share": 1.0}, rate_limit=0)
    object.__setattr__(live.server.samples._judge, "safety", slow)
    for _ in range(20):
        assert live.chat(max_tokens=1).status_code == 200
    assert 'bezel_answers_unjudged_total{reason="busy"} 4.0' in live.client.get("/metrics").text
    gate.set()
    wait_until(lambda: sum(each["count"] for each in quality(live)) == 16)

    def broken(question: str, answer: str) -> Score | None:
        raise ValueError(answer)

    object.__setattr__(live.server.samples._judge, "safety", broken)
    live.chat(max_tokens=1)
    wait_until(lambda: 'bezel_answers_unjudged_total{reason="ValueError"} 1.0' in live.client.get("/metrics").text)
    assert any(line.get("event") == "answer_unjudged" for line in live.log())


def test_an_embedder_that_embeds_nothing_is_refused_at_the_start() -> None:
    with pytest.raises(InvalidRequestError, match="quality_embedder is tiny"):
        _judge(MonitorSettings(quality_embedder="tiny"))
    with pytest.raises(InvalidRequestError, match="quality_share"):
        MonitorSettings(quality_share=1.5)
