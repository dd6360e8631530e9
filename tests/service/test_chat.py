"""Chats through OpenAI's own client, and what stands on the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from bezel.backends.interface import Delta, Finish, Usage
from bezel.errors import ConstraintFailedError, ContextLengthError
from bezel.generation.constraints.grammar import Grammar
from bezel.testing import CounterBackend
from bezel.text.calls import CallBroken, CallDelta, CallStarted
from bezel.text.tools import NamedTool
from tests.service.live import CHAT, MESSAGES, TOOLS, Live, events, wait_until


def test_an_answer(live: Live) -> None:
    answer = live.openai.chat.completions.create(model="counter", messages=MESSAGES)
    assert answer.object == "chat.completion" and answer.model == "counter" and answer.id.startswith("chatcmpl-")
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "1 2 3 4 5", "stop")
    assert choice.message.tool_calls is None and choice.logprobs is None
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 5, 8)
    assert answer.usage.prompt_tokens_details.cached_tokens == 1


def test_a_stream_is_the_same_answer(live: Live) -> None:
    chunks = list(
        live.openai.chat.completions.create(
            model="counter", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "1 2 3 4 5"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 6 + ["stop"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 8
    assert len({chunk.id for chunk in chunks}) == 1


def test_without_usage_no_chunk_has_it(live: Live) -> None:
    response = live.chat(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert all("usage" not in chunk and chunk["choices"] for chunk in events(response))


def test_calls(live: Live) -> None:
    answer = live.openai.chat.completions.create(model="counter", messages=MESSAGES, tools=TOOLS)  # type: ignore[arg-type]
    (choice,) = answer.choices
    calls = choice.message.tool_calls or []
    assert [(call.function.name, call.function.arguments) for call in calls] == [  # type: ignore[union-attr]
        ("count_up", '{"count":1}'),
        ("count_down", '{"count":1}'),
    ]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert len({call.id for call in calls}) == 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": "2"} for call in calls]
    chat = [*MESSAGES, choice.message, *results]
    after = live.openai.chat.completions.create(model="counter", messages=chat, tools=TOOLS)  # type: ignore[arg-type]
    assert after.choices[0].message.content == "1 2 3 4 5"


def test_calls_of_a_stream_come_in_parts_by_index(live: Live) -> None:
    chunks = events(live.chat(tools=TOOLS, stream=True))
    deltas = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", ())]
    calls: dict[int, dict[str, Any]] = {}
    for part in deltas:
        one = calls.setdefault(part["index"], {"arguments": ""})
        one["arguments"] += part["function"]["arguments"]
        one |= {name: part[name] for name in ("id", "type") if name in part}
        one |= {"name": part["function"]["name"]} if "name" in part["function"] else {}
    assert [calls[index]["name"] for index in (0, 1)] == ["count_up", "count_down"]
    assert all(call["arguments"] == '{"count":1}' and call["type"] == "function" for call in calls.values())
    assert calls[0]["id"] != calls[1]["id"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    with live.openai.chat.completions.stream(model="counter", messages=MESSAGES, tools=TOOLS) as stream:  # type: ignore[arg-type]
        final = stream.get_final_completion()
    assert len(final.choices[0].message.tool_calls or ()) == 2


def test_what_is_asked_reaches_the_model(live: Live) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    live.chat(
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "count_up"}},
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=0.25,
        top_k=7,
        min_p=0.125,
        presence_penalty=-1,
        frequency_penalty=1.5,
        logit_bias={"3": -100},
        seed=-1,
        stop=["x", "y"],
        logprobs=True,
        top_logprobs=3,
        max_completion_tokens=9,
    )
    asked = live.counter.asked
    assert asked is not None
    assert asked.tool_choice == NamedTool("count_up") and not asked.parallel_tool_calls
    assert asked.stop == ("x", "y") and asked.logprobs == 3 and asked.max_tokens == 9
    sampling = asked.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.25, 7, 0.125)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (-1, 1.5)
    assert sampling.logit_bias == {3: -100} and sampling.seed == 2**64 - 1
    live.chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    assert live.counter.asked.constraint == Grammar.schema(schema)
    live.chat(response_format={"type": "json_object"})
    assert live.counter.asked.constraint == Grammar.schema({"type": "object"})
    live.chat(response_format={"type": "text"})
    assert live.counter.asked.constraint is None and live.counter.asked.tool_choice == "auto"


def test_images_and_sounds_reach_the_model_as_they_came(live: Live) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    content = [{"type": "text", "text": "what"}, image, sound]
    assert live.chat(messages=[{"role": "user", "content": content}]).status_code == 200
    assert live.counter.asked is not None
    assert live.counter.asked.messages == [{"role": "user", "content": content}]
    assert not live.counter.asked.sources.files and not live.counter.asked.sources.web


def test_stop_length_and_log_probabilities(live: Live) -> None:
    answer = live.openai.chat.completions.create(
        model="counter", messages=MESSAGES, max_tokens=2, logprobs=True, top_logprobs=2
    )
    assert answer.choices[0].finish_reason == "length" and answer.choices[0].message.content == "1 2"
    assert answer.choices[0].logprobs is not None
    first, second = answer.choices[0].logprobs.content or []
    assert (first.token, first.bytes, first.logprob) == ("1", [49], -0.5)
    assert [(top.token, top.logprob) for top in second.top_logprobs] == [(" 2", -0.5), ("0", -1.5)]
    chunks = events(live.chat(stream=True, logprobs=True, max_tokens=2))
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry["token"] for part in logprobs if part for entry in part["content"]] == ["1", " 2"]
    stopped = live.chat(stop=" 3").json()["choices"][0]
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("1 2", "stop")


def test_several_answers(live: Live) -> None:
    answer = live.openai.chat.completions.create(model="counter", messages=MESSAGES, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"1 2 3 4 5"}
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 15)
    texts = {0: "", 1: ""}
    for chunk in events(live.chat(n=2, stream=True)):
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["delta"].get("content", "")
    assert texts == {0: "1 2 3 4 5", 1: "1 2 3 4 5"}
    assert live.chat(n=9).json()["error"]["param"] == "n", "more than can run at once"


def test_what_is_refused_at_once_has_a_status_also_for_a_stream(start: Callable[..., Live]) -> None:
    live = start(backends={"counter": CounterBackend(failure=ContextLengthError("9 tokens; the context has 8"))})
    for stream in (False, True):
        response = live.chat(stream=stream)
        assert response.status_code == 400 and response.json()["error"]["code"] == "context_length_exceeded"
        assert "the context has 8" in response.json()["error"]["message"]
    with pytest.raises(openai.BadRequestError, match="context has 8"):
        live.openai.chat.completions.create(model="counter", messages=MESSAGES)


@pytest.mark.parametrize("failure", [RuntimeError("secret words"), OSError("secret words")])
def test_an_error_inside_a_stream_is_an_event_and_says_nothing_of_its_words(
    start: Callable[..., Live], failure: Exception
) -> None:
    live = start(backends={"counter": CounterBackend(failure=failure, fails_at=3)})
    *chunks, error = events(live.chat(stream=True))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", "1", " 2"]
    assert error["error"]["type"] == "server_error" and "secret" not in str(error)
    with pytest.raises(openai.APIError, match=r"try again|log says more"):
        list(live.openai.chat.completions.create(model="counter", messages=MESSAGES, stream=True))
    response = live.chat()
    assert response.status_code == 500 and "secret" not in response.text
    assert all(type(failure).__name__ in line["cause"] for line in live.log(3))
    assert "secret" not in live.log_text.getvalue()
    wait_until(lambda: live.lanes().running == 0)


def test_a_form_that_no_answer_has_is_the_clients_matter(start: Callable[..., Live]) -> None:
    """Asked again, as clients ask after a 500, it would only cost as much again."""
    failure = ConstraintFailedError("secret words")
    live = start(backends={"counter": CounterBackend(failure=failure, fails_at=3)})
    *_, error = events(live.chat(stream=True))
    response = live.chat()
    assert response.status_code == 400
    for told in (error["error"], response.json()["error"]):
        assert told["code"] == "invalid_constraint" and "secret" not in str(told)
    with pytest.raises(openai.BadRequestError, match="No answer of this form"):
        live.openai.chat.completions.create(model="counter", messages=MESSAGES)


def test_the_models_own_sampling_holds_where_nothing_is_said(start: Callable[..., Live]) -> None:
    from bezel.generation.sampling import Sampling

    counter = CounterBackend()
    counter.sampling = Sampling(temperature=0.3, top_k=64)
    live = start(backends={"counter": counter})
    live.chat(top_p=0.5)
    assert counter.asked is not None and counter.asked.sampling == Sampling(temperature=0.3, top_k=64, top_p=0.5)


def test_a_message_of_an_answer_may_come_back_with_all_that_it_holds(live: Live) -> None:
    echoed = {"role": "assistant", "content": "1", "refusal": None, "annotations": [], "audio": None}
    assert live.chat(messages=[*MESSAGES, echoed, *MESSAGES]).status_code == 200
    refused = {"role": "assistant", "content": None, "refusal": "no"}
    parts = {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}, {"type": "text", "text": "1"}]}
    assert live.chat(messages=[*MESSAGES, refused, *MESSAGES, parts, *MESSAGES]).status_code == 200
    assert live.counter.asked is not None and live.counter.asked.messages is not None
    assert live.counter.asked.messages[1] == {"role": "assistant", "content": "no"}
    texts = [{"type": "text", "text": "never"}, {"type": "text", "text": "1"}]
    assert live.counter.asked.messages[3] == {"role": "assistant", "content": texts}
    strict = [{"type": "function", "function": {"name": "f", "strict": True}}]
    live.chat(tools=strict)
    assert live.counter.asked.tools == [{"type": "function", "function": {"name": "f"}}]
    assert live.client.post("/v1/chat/completions", json=CHAT | {"user": "u"}).status_code == 200


def test_answers_to_one_request_have_seeds_of_their_own() -> None:
    from bezel.backends.interface import Request
    from bezel.generation.sampling import Sampling
    from bezel.service.answers import several

    seeds = [one.sampling.seed for one in several(Request(prompt="a", sampling=Sampling(seed=2**64 - 1)), 3)]
    assert seeds == [2**64 - 1, 0, 1]
    assert several(Request(prompt="a"), 2) == [Request(prompt="a")] * 2


class Scripted(CounterBackend):
    """A backend whose answer is given."""

    def __init__(self, *script: Any) -> None:
        super().__init__()
        self._script = script

    def stream(self, request: Any) -> Any:
        return (event for event in self._script)


USAGE = Usage(1, 2, 0.0, 0.0)
BROKEN = (CallStarted(0, "f"), CallDelta(0, '{"a'), CallBroken(0, "f", "f(a", "it ends"))


@pytest.mark.parametrize("depth", [65, 990, 100_000])
def test_arguments_of_a_call_have_an_end(start: Callable[..., Live], depth: int) -> None:
    arguments = '{"a":' * depth + "1" + "}" * depth
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    chat = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]
    answer = start(backends={"counter": Scripted(Finish("stop", USAGE))}).chat(messages=chat)
    assert answer.status_code == 400 and "nested" in answer.json()["error"]["message"]


def test_a_call_that_was_cut_off_is_left_out(start: Callable[..., Live]) -> None:
    live = start(backends={"counter": Scripted(Delta("so"), *BROKEN, Finish("length", USAGE))})
    choice = live.chat().json()["choices"][0]
    assert choice["finish_reason"] == "length" and choice["message"] == {
        "role": "assistant",
        "content": "so",
        "refusal": None,
    }
    assert events(live.chat(stream=True))[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("script", [(*BROKEN, Finish("stop", USAGE)), (Delta("so"), Finish("cancelled", USAGE))])
def test_what_cannot_be_read_or_was_given_up_is_an_error(start: Callable[..., Live], script: tuple[Any, ...]) -> None:
    live = start(backends={"counter": Scripted(*script)})
    response = live.chat()
    assert response.status_code == 500 and response.json()["error"]["code"] == "GENERATION_ERROR"
    assert events(live.chat(stream=True))[-1]["error"]["code"] == "GENERATION_ERROR"
