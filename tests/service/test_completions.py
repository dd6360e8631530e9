"""Completions and token ids."""

from __future__ import annotations

from tests.service.live import Live, events


def test_a_completion(live: Live) -> None:
    answer = live.openai.completions.create(model="counter", prompt="one two", max_tokens=3, logprobs=2)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, answer.object) == ("1 2 3", "length", "text_completion")
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["1", " 2", " 3"] and choice.logprobs.text_offset == [0, 1, 3]
    assert choice.logprobs.top_logprobs == [{"1": -0.5, "0": -1.5}, {" 2": -0.5, "0": -1.5}, {" 3": -0.5, "0": -1.5}]
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 3)


def test_several_prompts_and_answers_are_numbered_by_prompt(live: Live) -> None:
    answer = live.openai.completions.create(model="counter", prompt=["a", "b c"], n=2, echo=True)
    assert [choice.text for choice in answer.choices] == ["a1 2 3 4 5"] * 2 + ["b c1 2 3 4 5"] * 2
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 20)


def test_token_ids_are_a_prompt(live: Live) -> None:
    body = {"model": "counter", "prompt": [5, 6], "echo": True, "max_tokens": 1}
    assert live.client.post("/v1/completions", json=body).json()["choices"][0]["text"] == "5 61"
    body["prompt"] = [[5, 6], [7]]
    texts = [choice["text"] for choice in live.client.post("/v1/completions", json=body).json()["choices"]]
    assert texts == ["5 61", "71"]


def test_a_stream(live: Live) -> None:
    body = {"model": "counter", "prompt": "a", "stream": True, "echo": True, "stream_options": {"include_usage": True}}
    *chunks, last = events(live.client.post("/v1/completions", json=body))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "a1 2 3 4 5"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 6


def test_tokens_of_a_text_and_back(live: Live) -> None:
    found = live.client.post("/tokenize", json={"model": "counter", "prompt": "a b c"}).json()
    assert found == {"count": 3, "max_model_len": 4096, "tokens": [0, 1, 2]}
    chat = {"model": "counter", "messages": [{"role": "user", "content": "a b"}]}
    assert live.client.post("/tokenize", json=chat).json()["count"] == 2
    back = live.client.post("/detokenize", json={"model": "counter", "tokens": [0, 1, 2]}).json()
    assert back == {"prompt": "0 1 2"}
    assert live.client.post("/detokenize", json={"model": "counter", "tokens": [99999]}).status_code == 400


def test_models(live: Live) -> None:
    (model,) = live.openai.models.list().data
    assert (model.id, model.object, model.owned_by) == ("counter", "model", "bezel")
    assert live.openai.models.retrieve("counter").id == "counter"
    missing = live.client.get("/v1/models/google/none")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "model_not_found"
    assert live.chat(model="none").status_code == 404
