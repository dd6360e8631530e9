"""A request goes in, events come out: the engine behind the Python API, on a random checkpoint."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import bezel
from bezel.backends.interface import Delta, Finish
from bezel.engine.engine import Engine
from bezel.errors import (
    BezelError,
    ConstraintError,
    ConstraintFailedError,
    ContextLengthError,
    InvalidRequestError,
    KernelLibraryError,
    UnknownModelError,
)
from bezel.kernels.interface import Format
from bezel.kernels.library import Native
from bezel.testing import write_checkpoint
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.quantize import quantize

try:
    Native()
    BUILT = True
except KernelLibraryError:
    BUILT = False
pytestmark = pytest.mark.skipif(not BUILT and not os.environ.get("CI"), reason="the compiled kernels are not built")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def model(folder: Path) -> bezel.Model:
    return bezel.load(str(folder))


def test_a_stream_says_what_a_whole_answer_says(model: bezel.Model) -> None:
    options = {"max_tokens": 20, "temperature": 0.8, "seed": 3}
    result = model.chat("hello", **options)
    assert "".join(model.stream("hello", **options)) == result.text
    assert result.finish_reason in ("length", "stop")
    assert result.usage.completion_tokens == 20 or result.finish_reason == "stop"
    assert result.usage.prompt_tokens == len("user\nhello\nmodel\n") + 4
    assert result.usage.prefill_seconds > 0
    *deltas, finish = model.events(model.request("hello", **options))
    assert all(isinstance(event, Delta) for event in deltas) and isinstance(finish, Finish)


def test_logprobs_belong_to_the_tokens(model: bezel.Model) -> None:
    result = model.complete("abc", max_tokens=5, temperature=0.0, logprobs=3)
    ids = [2, *model.tokenizer.encode("abc"), *result.token_ids]
    expected = model.logprobs(ids)[-len(result.token_ids) :]
    np.testing.assert_allclose([token.logprob for token in result.logprobs], expected, atol=1e-4)
    assert all(token.top[0][0] == token.token_id and len(token.top) == 3 for token in result.logprobs)
    assert model.perplexity(ids) == pytest.approx(float(np.exp(-model.logprobs(ids).mean())))
    assert model.logits(ids).shape == (len(ids), len(model.tokenizer))


def test_speculation_changes_counts_alone(folder: Path, model: bezel.Model) -> None:
    drafted = bezel.load(str(folder), draft=str(folder))
    options = {"max_tokens": 120, "temperature": 0.0, "logprobs": 2}
    plain = model.complete("abc", speculation="off", **options)
    assert (plain.usage.draft_tokens, plain.usage.acceptance_rate) == (0, 0.0)
    for one, mode in ((model, "auto"), (model, "lookup"), (drafted, "auto"), (drafted, "draft"), (drafted, "off")):
        other = one.complete("abc", speculation=mode, **options)
        assert (other.token_ids, other.logprobs, other.text) == (plain.token_ids, plain.logprobs, plain.text)
        assert 0 <= other.usage.accepted_tokens <= other.usage.draft_tokens
    with pytest.raises(InvalidRequestError, match="--draft"):
        model.complete("abc", speculation="draft")
    with pytest.raises(InvalidRequestError, match="lookup"):
        model.complete("abc", speculation="magic")


def test_a_draft_of_another_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    larger = write_checkpoint(tmp_path / "larger", vocabulary=400)
    with pytest.raises(InvalidRequestError, match="vocabulary"):
        bezel.load(str(folder), draft=str(larger))


def test_stop_strings_and_stop_ids_end_an_answer(model: bezel.Model) -> None:
    whole = model.complete("abc", max_tokens=30, temperature=0.0).text
    stop = whole[4:6]
    assert model.complete("abc", max_tokens=30, temperature=0.0, stop=stop).text == whole[: whole.index(stop)]
    forced = model.complete("abc", max_tokens=30, logit_bias={5: 1000.0})
    assert (forced.text, forced.finish_reason, forced.usage.completion_tokens) == ("", "stop", 1)


@pytest.mark.parametrize("level", [Format.F32, Format.BF16, Format.Q8_0, Format.Q4_0])
def test_a_quantised_file_answers_as_its_folder_does(folder: Path, tmp_path: Path, level: Format) -> None:
    checkpoint = open_checkpoint(folder)
    quantize(checkpoint, tmp_path / "m.gguf", level)
    checkpoint.close()
    names = {Format.BF16: "performance", Format.Q8_0: "balanced", Format.Q4_0: "maximum_efficiency"}
    direct = bezel.load(str(folder), level=names.get(level))
    stored = bezel.load(str(tmp_path / "m.gguf"))
    ids = [2, *direct.tokenizer.encode("the cat")]
    assert stored.tokenizer.encode("the cat 犬") == direct.tokenizer.encode("the cat 犬")
    np.testing.assert_array_equal(stored.logits(ids), direct.logits(ids))


def test_what_cannot_be_is_refused_with_the_way_out(model: bezel.Model, folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match="warmth"):
        model.chat("x", warmth=3)
    with pytest.raises(InvalidRequestError, match="temperature"):
        model.chat("x", temperature=-1)
    with pytest.raises(ContextLengthError, match="512"):
        model.complete("x" * 600)
    with pytest.raises(InvalidRequestError, match="512"):
        bezel.load(str(folder), context=513)
    with pytest.raises(InvalidRequestError, match="balanced"):
        bezel.load(str(folder), level="best")
    with pytest.raises(InvalidRequestError, match="sequences"):
        bezel.load(str(folder), sequences=0)
    with pytest.raises(UnknownModelError, match="tiny"):
        bezel.load("no such model")
    assert issubclass(InvalidRequestError, BezelError)


def test_conversations_in_a_batch_keep_their_order(model: bezel.Model) -> None:
    results = model.chat_batch(["a", "b"], max_tokens=4, temperature=0.0)
    assert [r.text for r in results] == [model.chat(m, max_tokens=4, temperature=0.0).text for m in ("a", "b")]


def test_conversations_in_a_batch_run_together_each_with_its_own_end(folder: Path) -> None:
    model = bezel.load(str(folder), sequences=4)
    questions = [f"question {'x' * n}" for n in range(10)]
    options = {"max_tokens": 30, "temperature": 0.9, "seed": 4, "logprobs": 2}
    alone = [model.chat(question, **options) for question in questions]
    before = model.statistics()
    together = model.chat_batch(questions, **options)
    assert [(r.text, r.finish_reason, r.logprobs) for r in together] == [
        (r.text, r.finish_reason, r.logprobs) for r in alone
    ]
    after = model.statistics()
    assert after.steps - before.steps < before.steps / 2
    assert after.reused_tokens > before.reused_tokens
    stop = alone[3].text[5:7]
    expected = [model.chat(question, **options, stop=stop) for question in questions]
    assert [r.text for r in model.chat_batch(questions, **options, stop=stop)] == [r.text for r in expected]
    with pytest.raises(ContextLengthError):
        model.chat_batch(["a", "b" * 600], **options)
    with pytest.raises(InvalidRequestError, match="empty"):
        model.chat_batch(["a"], stop=[""])


def test_streams_are_answered_side_by_side_and_closing_one_cancels_it(
    model: bezel.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled, cancel = [], Engine.cancel
    monkeypatch.setattr(
        Engine, "cancel", lambda engine, identity: (cancelled.append(identity), cancel(engine, identity))
    )
    options = {"temperature": 0.0, "logit_bias": {1: -1e9, 5: -1e9}}
    expected = model.complete("second", max_tokens=40, **options).text
    first = model.events(model.request(prompt="first", **options))  # goes on to the end of the context
    second = model.events(model.request(prompt="second", max_tokens=40, **options))
    next(first)
    assert "".join(event.text for event in second if isinstance(event, Delta)) == expected
    assert cancelled == []
    first.close()
    assert len(cancelled) == 1
    assert model.complete("second", max_tokens=40, **options).text == expected
    deadline = time.monotonic() + 60
    while (model.statistics().running, model.statistics().waiting) != (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_second_turn_of_a_chat_goes_on_from_the_first(model: bezel.Model, folder: Path) -> None:
    messages = [{"role": "user", "content": "a question that is longer than one block of the cache, by some words"}]
    options = {"temperature": 0.0, "max_tokens": 40}
    first = model.chat(messages, **options)
    messages += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "and then?"}]
    second = model.chat(messages, **options)
    read = first.usage.prompt_tokens // 32 * 32
    assert second.usage.cached_tokens >= read >= 64
    fresh = bezel.load(str(folder)).chat(messages, **options)
    assert fresh.usage.cached_tokens == 0
    assert second.text == fresh.text


def test_the_cache_is_kept_as_asked(folder: Path) -> None:
    logits = {}
    for name in ("f32", "f16", "q8_0"):
        model = bezel.load(str(folder), context=96, cache=name)
        assert model.describe()["cache"] == name
        logits[name] = model.logits(list(range(2, 60)))
    span = logits["f32"].max() - logits["f32"].min()
    assert 0 < np.abs(logits["f16"] - logits["f32"]).max() < 1e-3 * span
    assert 1e-3 * span < np.abs(logits["q8_0"] - logits["f32"]).max() < 3e-2 * span
    np.testing.assert_array_equal(bezel.load(str(folder), context=96).logits(list(range(2, 60))), logits["f16"])
    with pytest.raises(InvalidRequestError, match="unknown cache type 'f8'; choose one of f16, q8_0, f32"):
        bezel.load(str(folder), cache="f8")


def test_a_bench_times_one_run(folder: Path) -> None:
    model = bezel.load(str(folder), context=96)
    found = model.bench(prompt_tokens=20, new_tokens=6, depth=40, profile=True)
    assert (found.prompt_tokens, found.new_tokens, found.depth) == (20, 6, 40)
    assert found.prefill_tokens_per_second > 0 and found.decode_tokens_per_second > 0
    assert found.peak_memory > 1 << 20
    assert {"linear", "attention", "python"} <= set(found.seconds_by_kernel)
    assert sum(found.seconds_by_kernel.values()) == pytest.approx(found.decode_seconds)
    with pytest.raises(InvalidRequestError, match="larger"):
        model.bench(prompt_tokens=90, new_tokens=7)


@dataclass
class Answer:
    kind: Literal["a", "b"]
    count: int | None = None


def test_an_answer_is_an_object(model: bezel.Model) -> None:
    schema = {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3, "maxItems": 3}
    for seed in range(3):
        options: dict[str, Any] = {"temperature": 2.0, "seed": seed, "max_tokens": 200}
        assert sorted(model.chat("hello", schema=schema, **options).parsed) == [1, 2, 3]
        assert model.complete("x", choices=["red", "green"], **options).text in ("red", "green")
        assert re.fullmatch("[ab]{3}", model.chat("x", regex="[ab]{3}", **options).text)
        assert model.chat("x", grammar='start: "<" /[xy]/ ">"', **options).text in ("<x>", "<y>")
        batch = model.chat_batch(["x", "yy"], schema=Literal["a", "b"], **options)
        assert all(result.parsed in ("a", "b") for result in batch)
    built = model.chat("x", schema=Answer, temperature=0.0, max_tokens=400)
    assert isinstance(built.parsed, Answer) if built.finish_reason == "stop" else built.parsed is None


def test_an_answer_that_was_cut_off_is_no_object(model: bezel.Model) -> None:
    result = model.chat("x", schema={"type": "array", "minItems": 50}, max_tokens=5)
    assert (result.finish_reason, result.parsed) == ("length", None)


def test_nobody_sees_what_may_be_taken_back(model: bezel.Model) -> None:
    schema = {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 2, "maxItems": 2}
    pieces = list(model.stream("hello", schema=schema, temperature=2.0, seed=1, max_tokens=200))
    assert sorted(json.loads("".join(pieces))) == [1, 2]
    whole = model.chat("hello", schema=schema, temperature=2.0, seed=1, max_tokens=200)
    assert whole.usage.completion_tokens == len(whole.token_ids) + 1
    assert "".join(pieces) == whole.text


def test_one_constraint_at_most_and_a_sound_one(model: bezel.Model) -> None:
    with pytest.raises(InvalidRequestError, match="one of"):
        model.chat("x", schema={}, regex="a")
    with pytest.raises(ConstraintError, match="regular expression"):
        model.chat("x", regex="(")
    impossible = {"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2, "maxItems": 2}
    with pytest.raises(ConstraintFailedError, match="no document"):
        model.chat("x", schema=impossible, max_tokens=400)
    assert model.chat("x", max_tokens=1).usage.completion_tokens == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"threads": "2"},
        {"threads": 2.5},
        {"threads": -1},
        {"threads": 257},
        {"threads": True},
        {"context": "5"},
        {"context": 1.5},
        {"sequences": "a"},
        {"sequences": 1.5},
        {"model": None},
        {"fit": float("nan")},
        {"fit": float("inf")},
        {"fit": [1]},
        {"draft": ""},
        {"draft": 3},
        {"level": 4},
        {"cache": []},
        {"profile": 1},
        {"backend": None},
    ],
)
def test_what_cannot_be_loaded_with_is_named(asked: dict[str, Any]) -> None:
    threads = Native().threads
    with pytest.raises(InvalidRequestError, match=next(iter(asked))):
        bezel.load(**asked)
    assert Native().threads == threads


def test_whole_numbers_of_any_kind_will_do(folder: Path) -> None:
    loaded = bezel.load(str(folder), context=np.int64(96), sequences=np.int32(2), threads=np.int64(Native().threads))
    assert loaded.describe()["context"] == 96


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"stop": [1]}, "stop"),
        ({"stop": 5}, "stop"),
        ({"logprobs": -1}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": "3"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"regex": 5}, "regex"),
        ({"grammar": b"x"}, "grammar"),
        ({"choices": 5}, "choices"),
        ({"choices": ["\ud800"]}, "surrogate"),
        ({"regex": "\ud800"}, "surrogate"),
        ({"temperature": "0.7"}, "temperature"),
    ],
)
def test_a_field_of_another_type_is_named(model: bezel.Model, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        model.chat("x", **{"max_tokens": 3, **asked})


def test_what_openai_writes_is_taken(model: bezel.Model) -> None:
    options: dict[str, Any] = {"max_tokens": 3, "temperature": 0.0}
    plain = model.chat("x", **options)
    assert model.chat("x", stop=None, logit_bias=None, seed=-1, **options).text == plain.text
    biased = [model.chat("x", logit_bias={token: 1e6}, **options).token_ids for token in ("50", 50)]
    assert biased[0] == biased[1] == (50, 50, 50)


def test_token_ids_are_integers_of_any_kind(model: bezel.Model) -> None:
    ids = [2, 50, 60]
    given = np.array(ids)
    assert model.complete(given, max_tokens=3, temperature=0.0).text == (
        model.complete(ids, max_tokens=3, temperature=0.0).text
    )
    for ask in (model.logits, model.logprobs, model.next_logits, model.perplexity):
        np.testing.assert_array_equal(ask(given), ask(ids))  # type: ignore[operator]
        for wrong in (["a"], [1.5], np.array([ids]), np.array([2.0])):
            with pytest.raises(InvalidRequestError, match="token ids must be whole numbers"):
                ask(wrong)  # type: ignore[operator]
    with pytest.raises(InvalidRequestError, match="token ids"):
        model.complete([1.5])  # type: ignore[list-item]


def test_a_batch_is_no_text(model: bezel.Model) -> None:
    with pytest.raises(InvalidRequestError, match="conversations"):
        model.chat_batch("hello")
