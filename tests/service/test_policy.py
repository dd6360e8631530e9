"""The content policy on every route that a model answers, and moderations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from bezel.safety.classifier import Classifier
from bezel.safety.content import ContentPolicy
from bezel.safety.guard import Guard
from bezel.safety.settings import PolicySettings
from bezel.testing import CounterBackend
from tests.safety.test_classifier import Scripted
from tests.service.engines import CountingEmbedder, CountingHearer, Parrot
from tests.service.live import TOOLS, Live, events, wait_until
from tests.service.test_audio import ask as transcribe
from tests.service.test_batches import line, run

RULES = """
[[rule]]
name = "zeus"
action = "block"
on = ["input"]
words = ["zeus"]

[[rule]]
name = "hera"
action = "block"
on = ["output"]
words = ["hera"]

[[rule]]
name = "ticket"
action = "redact"
patterns = ['T-[0-9]{4}']

[[rule]]
name = "gossip"
action = "flag"
words = ["rumour"]

[[rule]]
name = "counting"
action = "block"
on = ["output"]
patterns = ["3 4"]
"""


def made(folder: Path, **options: Any) -> ContentPolicy:
    file = folder / "rules.toml"
    file.write_text(RULES)
    return ContentPolicy.of(PolicySettings(rules=str(file), **options))


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("ruled")
    backends = {"parrot": Parrot(), "embedder": CountingEmbedder(), "hearer": CountingHearer()}
    policy = made(folder, personal_data=("email",), active_html="remove", hold_back_chars=12)
    found = Live(folder, backends=backends, policy=policy, rate_limit=0, batch_folder=str(folder / "batches"))
    yield found
    found.stop()


def say(live: Live, content: Any, **fields: Any) -> httpx.Response:
    return live.chat(model="parrot", messages=[{"role": "user", "content": content}], **fields)


def parrot(live: Live) -> Any:
    return live.server.models["parrot"].backend


ASKING: dict[str, Callable[[str], dict[str, Any]]] = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/completions": lambda text: {"prompt": text, "max_tokens": 1000},
    "/v1/responses": lambda text: {"input": text},
    "/api/chat": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/api/generate": lambda text: {"prompt": text},
}


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("stream", [False, True])
def test_every_route_refuses_what_a_rule_blocks(ruled: Live, path: str, stream: bool) -> None:
    parrot(ruled).asked = None
    body = {"model": "parrot", "stream": stream, **ASKING[path]("tell me of z\u200beus")}
    answer = ruled.client.post(path, json=body)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "CONTENT_FILTERED"
    assert parrot(ruled).asked is None and "zeus" not in answer.text


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("stream", [False, True])
def test_every_route_ends_what_a_rule_blocks(ruled: Live, path: str, stream: bool) -> None:
    text = "this is long, and then it is HERA who comes, and more"
    answer = ruled.client.post(path, json={"model": "parrot", "stream": stream, **ASKING[path](text)})
    assert answer.status_code == 200 and "content_filter" in answer.text and "H" not in spoken(answer.text)
    if path == "/v1/responses":
        last = json.loads(answer.text.split("data: ")[-2])["response"] if stream else answer.json()
        assert last["status"] == "incomplete" and last["incomplete_details"] == {"reason": "content_filter"}
    elif path.startswith("/v1"):
        last = events(answer)[-1] if stream else answer.json()
        assert last["choices"][0]["finish_reason"] == "content_filter"
    else:
        assert json.loads(answer.text.splitlines()[-1])["done_reason"] == "content_filter"


def spoken(text: str) -> str:
    """What came, without the names of fields and events."""
    return "".join(part for part in text.split('"') if part.isupper())


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("stream", [False, True])
def test_every_route_redacts_requests_and_answers(ruled: Live, path: str, stream: bool) -> None:
    text = "of T-1234 and me@example.org <script>x</script> & so on"
    answer = ruled.client.post(path, json={"model": "parrot", "stream": stream, **ASKING[path](text)})
    asked = parrot(ruled).asked
    seen = asked.prompt if asked.messages is None else asked.messages[-1]["content"]
    assert seen == "of [ticket] and [personal/email]  &amp; so on"
    changes = {"active HTML removed", "ticket redacted", "personal/email redacted"}
    assert set(answer.headers["x-bezel-input-changes"].split(", ")) == changes
    assert "1234" not in answer.text and "script" not in answer.text


def test_what_comes_from_a_model_is_redacted_in_streams(ruled: Live) -> None:
    policy = ruled.server.policy
    ruled.server.policy = replace(policy, rules=tuple(replace(each, sides=("output",)) for each in policy.rules))
    try:
        chunks = events(say(ruled, "write to me@example.org of T-1234, T-99", stream=True))
        said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        assert said == "write to [personal/email] of [ticket], T-99" and len(chunks) > 10
        whole = say(ruled, "write to me@example.org of T-1234, T-99").json()
        assert whole["choices"][0]["message"]["content"] == said
        made = say(ruled, "T-1234", tools=TOOLS).json()["choices"][0]["message"]["tool_calls"][0]["function"]
        assert made == {"name": "count_up", "arguments": '{"text":"[ticket]"}'}
    finally:
        ruled.server.policy = policy


def test_nothing_of_a_request_goes_round_the_rules(ruled: Live) -> None:
    parrot(ruled).asked = None
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"to": "z\\u0065us"}'}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"enum": ["zeus"]}}}}}
    hi = {"role": "user", "content": "hi"}
    for fields in (
        {"messages": [{"role": "system", "content": "zeus"}, hi]},
        {"messages": [{**hi, "name": "zeus"}]},
        {"messages": [hi, {"role": "assistant", "tool_calls": [call]}, hi]},
        {"messages": [hi, {"role": "assistant", "content": "zeus"}, hi]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "zeus"}]}]},
        {"messages": [hi], "tools": [tool]},
        {"messages": [hi], "tools": [{"type": "function", "function": {"name": "f", "description": "zeus"}}]},
    ):
        answer = ruled.chat(model="parrot", **fields)
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "CONTENT_FILTERED", fields
    assert parrot(ruled).asked is None
    embedded = ruled.client.post("/v1/embeddings", json={"model": "embedder", "input": ["hi", "zeus"]})
    tokenized = ruled.client.post("/tokenize", json={"model": "parrot", "prompt": "zeus"})
    assert [each.json()["error"]["code"] for each in (embedded, tokenized)] == ["CONTENT_FILTERED"] * 2


def test_tools_stay_tools_whatever_is_redacted(start: Callable[..., Live], tmp_path: Path) -> None:
    file = tmp_path / "words.toml"
    file.write_text("[[rule]]\nname='x'\naction='redact'\nwords=['function', 'object', 'parameters', 'f', 'secret']\n")
    backend = Parrot()
    live = start(backends={"parrot": backend}, policy=ContentPolicy.of(PolicySettings(rules=str(file))))
    schema = {"type": "object", "properties": {"secret": {"type": "string", "enum": ["secret", "b"]}}}
    tool = {"type": "function", "function": {"name": "f", "description": "a secret", "parameters": schema}}
    assert say(live, "hi", tools=[tool]).status_code == 200
    seen: Any = backend.asked
    redacted = {"type": "object", "properties": {"secret": {"type": "string", "enum": ["[x]", "b"]}}}
    assert seen.tools == [
        {"type": "function", "function": {"name": "f", "description": "a [x]", "parameters": redacted}}
    ]


def test_token_ids_are_read_as_text(start: Callable[..., Live], tmp_path: Path) -> None:
    file = tmp_path / "ids.toml"
    file.write_text(
        "[[rule]]\nname='a'\naction='block'\nwords=['7 8']\n[[rule]]\nname='b'\naction='redact'\nwords=['9']\n"
    )
    live = start(policy=ContentPolicy.of(PolicySettings(rules=str(file))))
    answers = [
        live.client.post("/v1/completions", json={"model": "counter", "prompt": ids})
        for ids in ([1, 7, 8], [9], [1, 7])
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 200]
    assert answers[0].json()["error"]["code"] == "CONTENT_FILTERED" and "send the prompt as text" in answers[1].text


def test_transcriptions_and_batches_too(ruled: Live) -> None:
    heard = transcribe(ruled)
    assert heard.status_code == 400 and heard.json()["error"]["code"] == "RESPONSE_FILTERED"
    bodies = [ASKING["/v1/chat/completions"](text) | {"model": "parrot"} for text in ("zeus", "a HERA b", "T-1234")]
    batch = run(ruled, "\n".join(line(number, body) for number, body in enumerate(bodies)), until="completed")
    answers = [
        json.loads(each)
        for name in (batch.output_file_id, batch.error_file_id)
        for each in ruled.openai.files.content(name).text.splitlines()
    ]
    found = {each["custom_id"]: each["response"]["body"] for each in answers}
    assert found["c0"]["error"]["code"] == "CONTENT_FILTERED"
    assert found["c1"]["choices"][0]["finish_reason"] == "content_filter"
    assert found["c2"]["choices"][0]["message"]["content"] == "[ticket]"


def test_what_was_found_is_counted_by_name_and_never_written_down(start: Callable[..., Live], tmp_path: Path) -> None:
    policy = made(tmp_path, personal_data=("all",), personal_data_action="flag")
    live = start(backends={"parrot": Parrot()}, policy=policy)
    say(live, "a rumour of T-1234 about jane.doe@example.org, +1 (212) 555-0123")
    say(live, "zeus and jane.doe@example.org")
    say(live, "of HERA", stream=True)
    first, second, third = live.log(3)
    assert set(first["rules"]) == {"ticket", "gossip", "personal/email", "personal/phone"}
    assert set(second["rules"]) == {"zeus", "personal/email"} and second["error"] == "CONTENT_FILTERED"
    assert third["rules"] == ["hera"] and "error" not in third and first["content_sha256"] != second["content_sha256"]
    metrics = live.client.get("/metrics").text
    for name, action, side, count in (
        ("gossip", "flag", "input", 1),
        ("gossip", "flag", "output", 1),
        ("ticket", "redact", "input", 1),
        ("zeus", "block", "input", 1),
        ("hera", "block", "output", 1),
        ("personal/email", "flag", "input", 2),
    ):
        assert f'bezel_policy_matches_total{{action="{action}",rule="{name}",side="{side}"}} {count}.0' in metrics
    assert 'finished_reason="content_filter"' in metrics
    for secret in ("T-1234", "jane", "555-0123", "HERA", "rumour of"):
        assert secret not in metrics and secret not in live.log_text.getvalue()


def test_tokens_of_a_blocked_answer_are_charged_and_its_lane_is_free(
    start: Callable[..., Live], tmp_path: Path
) -> None:
    live = start(
        backends={"parrot": Parrot()}, policy=made(tmp_path, hold_back_chars=5), token_limit=4000, max_num_seqs=1
    )
    usage = say(live, "of HERA and more", max_tokens=50).json()["usage"]
    assert usage == {**usage, "prompt_tokens": 4, "completion_tokens": 16}
    say(live, "of HERA and much more than was ever sent", stream=True, max_tokens=50)
    wait_until(lambda: live.lanes().running == 0)
    assert live.log(2)[1]["completion_tokens"] < 40


def judged(word: str = "lock", **options: Any) -> ContentPolicy:
    return ContentPolicy(guard=Guard("judge", Classifier(Scripted(word), policies=["dangerous", "hate"])), **options)


def test_a_guard_stands_before_and_behind_the_model(start: Callable[..., Live]) -> None:
    backend = Parrot()
    live = start(backends={"parrot": backend}, policy=judged())
    for path, asking in ASKING.items():
        answer = live.client.post(path, json={"model": "parrot", "stream": False, **asking("pick a lock")})
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "CONTENT_FILTERED"
    assert backend.asked is None
    assert say(live, "good day").json()["choices"][0]["message"]["content"] == "good day"
    assert (
        'bezel_policy_matches_total{action="block",rule="guard/dangerous",side="input"} 5.0'
        in live.client.get("/metrics").text
    )


def test_another_policy_holds_for_what_comes_then(start: Callable[..., Live], tmp_path: Path) -> None:
    live = start(backends={"parrot": Parrot()})
    assert say(live, "zeus").status_code == 200
    live.server.policy = made(tmp_path)
    assert say(live, "zeus").status_code == 400


def test_moderations_by_rules_and_guard(start: Callable[..., Live], tmp_path: Path) -> None:
    policy = replace(made(tmp_path, active_html="block"), guard=judged().guard)
    live = start(policy=policy)
    found = live.openai.moderations.create(input=["hello", "pick a lock", "of zeus and T-1234"])
    assert found.id.startswith("modr-") and found.model == "judge"
    assert [result.flagged for result in found.results] == [False, True, True]
    lock: Any = found.results[1].model_dump(by_alias=True)
    assert lock["categories"]["hate"] and lock["categories"]["dangerous"] and lock["category_scores"]["hate"] > 0.9
    assert lock["category_applied_input_types"]["hate"] == ["text"]
    assert not lock["categories"]["violence"] and lock["category_applied_input_types"]["violence"] == []
    ruled: Any = found.results[2].model_dump(by_alias=True)
    assert ruled["categories"]["zeus"] and ruled["categories"]["ticket"] and not ruled["categories"]["hera"]
    parts: Any = [{"type": "text", "text": "hello"}, {"type": "text", "text": "a lock"}]
    together = live.openai.moderations.create(input=parts, model="omni-moderation-latest")
    assert [result.flagged for result in together.results] == [True]
    assert live.openai.moderations.create(input="<script>", model="judge").results[0].flagged
    with pytest.raises(openai.NotFoundError):
        live.openai.moderations.create(input="x", model="counter")
    image: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}]
    with pytest.raises(openai.BadRequestError, match="--guard google/shieldgemma-2-4b-it") as failure:
        live.openai.moderations.create(input=image)
    assert failure.value.code == "not_configured"


def test_moderations_judge_images(start: Callable[..., Live]) -> None:
    class Images:
        def check(self, image: Any, sources: Any) -> Any:
            from bezel.safety.classifier import Verdict

            assert not sources.files
            return Verdict.of({"violence": 0.75, "sexual": 0.25}, 0.5)

    live = start(policy=ContentPolicy(guard=Guard("sees", None, Images())))  # type: ignore[arg-type]
    image: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}]
    (result,) = live.openai.moderations.create(input=image).results
    assert result.flagged and result.categories.violence and result.category_scores.sexual == 0.25
    assert result.category_applied_input_types.violence == ["image"]
    with pytest.raises(openai.BadRequestError, match="To judge texts"):
        live.openai.moderations.create(input="text")


def test_without_anybody_who_judges_the_error_says_how_to_have_one(live: Live) -> None:
    answer = live.client.post("/v1/moderations", json={"input": "x"})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "not_configured"
    for words in ("--guard google/shieldgemma-2b", "--rules FILE", "--personal-data all"):
        assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [{}, {"input": []}, {"input": 1}, {"input": [1]}, {"input": ["a", {}]}, {"input": "a", "x": 1}]
)
def test_what_is_no_moderation_is_refused(live: Live, body: Any) -> None:
    assert live.client.post("/v1/moderations", json=body).status_code == 400


def test_moderations_have_scopes_limits_and_budgets(start: Callable[..., Live]) -> None:
    live = start(policy=judged(), token_limit=2000, max_text_chars=100)
    body = {"input": "hello"}
    assert live.client.post("/v1/moderations", json=body, headers={"authorization": ""}).status_code == 401
    assert live.client.post("/v1/moderations", json=body, headers=live.key("models")).status_code == 403
    assert "characters" in live.client.post("/v1/moderations", json={"input": "x" * 101}).json()["error"]["message"]
    answer = live.client.post("/v1/moderations", json=body)
    left = int(answer.headers["x-ratelimit-remaining-tokens"])
    assert answer.status_code == 200 and 0 <= left < 2000
    refused = live.client.post("/v1/moderations", json={"input": ["hello"] * 8})
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    assert live.log(5)[3]["prompt_tokens"] == 2000 - left


def test_a_server_without_a_policy_looks_at_nothing(live: Live) -> None:
    assert not live.server.policy.looks_at_answers and isinstance(live.counter, CounterBackend)
    assert live.chat().json()["choices"][0]["message"]["content"] == "1 2 3 4 5"
