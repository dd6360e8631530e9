"""The engine of Transformers gives what the native one gives, for requests of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bezel
from bezel.backends.interface import Delta
from bezel.errors import ContextLengthError, InvalidRequestError, UnsupportedInputError, UnsupportedModelError
from bezel.kernels.interface import Format
from bezel.testing import GEMMA3, write_checkpoint
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.quantize import quantize

pytest.importorskip("torch")
pytest.importorskip("transformers")
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}


PERMUTATION = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1, "maximum": 3},
    "uniqueItems": True,
    "minItems": 3,
    "maxItems": 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"), config=GEMMA3, seed=3)


@pytest.fixture(scope="module")
def models(folder: Path) -> tuple[bezel.Model, bezel.Model]:
    other = bezel.load(str(folder), backend="transformers", device="cpu", context=512)
    return bezel.load(str(folder), cache="f32", context=512), other


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 1.3, "top_k": 20, "seed": 4},
        {"temperature": 0, "repetition_penalty": 1.3, "stop": ["e"]},
        {"temperature": 0, "logprobs": 2},
        {"temperature": 2, "seed": 1, "regex": "[a-f]{3,9}"},
        {"temperature": 2, "seed": 2, "schema": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}},
        {"temperature": 2, "seed": 3, "tools": [ADD], "tool_choice": "required"},
        {"temperature": 2, "seed": 0, "schema": PERMUTATION},  # which a validator alone knows, and takes tokens back
    ],
    ids=lambda options: " ".join(options),
)
def test_an_answer_is_that_of_the_native_engine(
    models: tuple[bezel.Model, bezel.Model], options: dict[str, Any]
) -> None:
    ours, theirs = (model.chat("tell me a story", max_tokens=40, **options) for model in models)
    assert (theirs.text, theirs.finish_reason, theirs.calls) == (ours.text, ours.finish_reason, ours.calls)
    assert theirs.token_ids == ours.token_ids
    assert [t.logprob for t in theirs.logprobs] == pytest.approx([t.logprob for t in ours.logprobs], abs=1e-3)
    assert theirs.usage.prompt_tokens == ours.usage.prompt_tokens
    assert theirs.usage.completion_tokens == ours.usage.completion_tokens


def test_a_completion_a_batch_and_the_tokens_of_a_prompt(models: tuple[bezel.Model, bezel.Model]) -> None:
    options: dict[str, Any] = {"temperature": 0, "max_tokens": 8}
    ours, theirs = models
    assert theirs.complete("Once", **options).text == ours.complete("Once", **options).text
    pair = [result.text for result in theirs.chat_batch(["one", "two"], **options)]
    assert pair == [ours.chat(text, **options).text for text in ("one", "two")]
    assert theirs.prompt_ids("hello") == ours.prompt_ids("hello")
    assert theirs.describe()["engine"] == "transformers" and theirs._backend.health() == {"status": "healthy"}


def test_closing_a_stream_makes_room_for_the_next(models: tuple[bezel.Model, bezel.Model]) -> None:
    events = models[1].events(models[1].request("hello", max_tokens=100, temperature=0))
    assert isinstance(next(events), Delta)
    events.close()
    assert models[1].chat("hello", max_tokens=2, temperature=0).usage.completion_tokens == 2


def test_what_cannot_be_is_refused(models: tuple[bezel.Model, bezel.Model], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ContextLengthError):
        models[1].complete([5] * 513)
    with pytest.raises(UnsupportedInputError):
        models[1].chat([{"role": "user", "content": [{"type": "image", "image": "cat.png"}]}])
    with pytest.raises(UnsupportedInputError, match=r"load .* here"):
        models[1].logits([1, 2])
    with pytest.raises(InvalidRequestError, match="not here"):
        bezel.load(str(folder), backend="transformers", device="cuda:9")
    with pytest.raises(InvalidRequestError, match="only the native engine rounds"):
        bezel.load(str(folder), "balanced", backend="transformers")
    with pytest.raises(InvalidRequestError, match="does not take threads"):
        bezel.load(str(folder), threads=1, backend="transformers")
    quantize(open_checkpoint(folder), tmp_path / "m.gguf", Format.BF16)
    with pytest.raises(UnsupportedModelError, match="takes folders"):
        bezel.load(str(tmp_path / "m.gguf"), backend="transformers")


def test_performance_is_bf16(folder: Path) -> None:
    model = bezel.load(str(folder), "performance", backend="transformers", device="cpu")
    assert model.describe()["dtype"] == "bfloat16" and model.chat("hi", max_tokens=2).usage.completion_tokens
