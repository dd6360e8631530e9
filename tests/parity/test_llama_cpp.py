"""What `bezel quantize` writes, answered by llama.cpp too (pip install llama-cpp-python builds it from source)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bezel
from bezel.kernels.formats import dequantize
from bezel.kernels.interface import Format
from bezel.testing import GEMMA3N, write_checkpoint
from bezel.text.vocabulary import Kind, vocabulary_from_gguf
from bezel.training.evaluation import generated
from bezel.weights.checkpoint import Checkpoint, open_checkpoint
from bezel.weights.hub import fetch, parse_reference
from bezel.weights.quantize import quantize

llama_cpp = pytest.importorskip("llama_cpp")
safetensors = pytest.importorskip("safetensors.numpy")
CONTEXT = 1024
ANSWER = 48
WHOLE = [Format.F32, Format.BF16]
ROUNDED = [Format.Q8_0, Format.Q4_0]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model as float32 safetensors, norms without their one, as Transformers stores them."""
    folder = write_checkpoint(tmp_path_factory.mktemp("tiny"))
    checkpoint = open_checkpoint(fetch(parse_reference("tiny")))
    tensors = {}
    for name, stored in checkpoint.stored_names.items():
        info = checkpoint.source.tensors[stored]
        rows = int(np.prod(info.shape[:-1], dtype=int))
        values = dequantize(info.readable(), checkpoint.source.read_rows(stored, 0, rows), info.columns)
        tensors[f"model.{name}"] = (values - (len(info.shape) == 1)).reshape(info.shape).astype(np.float32)
    safetensors.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(dict(checkpoint.config)))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(checkpoint)))
    (folder / "chat_template.jinja").write_text(checkpoint.metadata["tokenizer.chat_template"])
    return folder


def tokenizer_json(checkpoint: Checkpoint) -> dict[str, Any]:
    vocabulary = vocabulary_from_gguf(checkpoint.metadata, "tiny")
    special = [i for i, kind in enumerate(vocabulary.kinds) if kind == Kind.CONTROL]
    return {
        "added_tokens": [{"id": i, "content": vocabulary.pieces[i], "special": True} for i in special],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "vocab": {piece: i for i, piece in enumerate(vocabulary.pieces)},
            "merges": list(vocabulary.merges),
        },
    }


@pytest.fixture(scope="module")
def prompts() -> list[tuple[Any, Any]]:
    return [(q.messages, q.tools) for _, questions in generated(8).values() for q in questions]


def written(folder: Path, level: Format) -> Path:
    target = folder / f"{level.name}.gguf"
    if not target.exists():
        quantize(open_checkpoint(folder), target, level)
    return target


@contextmanager
def rival(file: Path) -> Iterator[Any]:
    model = llama_cpp.Llama(str(file), n_ctx=CONTEXT, n_batch=CONTEXT, n_threads=2, logits_all=True, verbose=False)
    yield model
    model.close()


def rival_logits(model: Any, ids: list[int]) -> np.ndarray:
    model.reset()
    model.eval(ids)
    return np.array(model.scores[: len(ids)])


def rival_greedy(model: Any, ids: list[int], stop_ids: set[int]) -> list[int]:
    found: list[int] = []
    model.reset()
    model.eval(ids)
    while len(found) < ANSWER:
        token = int(model.scores[model.n_tokens - 1].argmax())
        if token in stop_ids:
            break
        found.append(token)
        model.eval([token])
    return found


@pytest.mark.parametrize("level", WHOLE, ids=lambda level: level.name)
def test_both_engines_write_the_same_text(tiny_folder: Path, prompts: list, level: Format) -> None:
    file = written(tiny_folder, level)
    ours, folder = bezel.load(str(file)), bezel.load(str(tiny_folder))
    with rival(file) as theirs:
        for messages, tools in prompts[::4]:
            ids = ours.prompt_ids(messages, tools)
            # Without the grammar of the tools' calls, which llama.cpp does not follow.
            answer = ours.complete(ids, temperature=0.0, max_tokens=ANSWER)
            assert answer.text == folder.complete(ids, temperature=0.0, max_tokens=ANSWER).text
            assert list(answer.token_ids) == rival_greedy(theirs, ids, set(ours.tokenizer.stop_ids))


@pytest.mark.parametrize("level", ROUNDED, ids=lambda level: level.name)
def test_both_engines_prefer_the_same_token(tiny_folder: Path, prompts: list, level: Format) -> None:
    file = written(tiny_folder, level)
    ours = bezel.load(str(file))
    same = total = 0
    with rival(file) as theirs:
        for messages, tools in prompts:
            answer = ours.chat(messages, tools=tools, temperature=0.0, max_tokens=ANSWER)
            prompt = ours.prompt_ids(messages, tools)
            ids = prompt + list(answer.token_ids)
            found = ours.logits(ids).argmax(-1) == rival_logits(theirs, ids).argmax(-1)
            answered = found[len(prompt) - 1 : -1]
            same, total = same + int(answered.sum()), total + len(answered)
    print(f"{level.name}: {same} of {total} tokens agree")
    assert same / total >= 0.99


def test_both_engines_read_the_same_tokens(tiny_folder: Path, prompts: list) -> None:
    file = written(tiny_folder, Format.Q8_0)
    ours = bezel.load(str(file))
    with rival(file) as theirs:
        for text in [messages[-1]["content"] for messages, _ in prompts] + ["héllo  wörld\n\n日本 123"]:
            assert theirs.tokenize(text.encode(), add_bos=False) == ours.tokenizer.encode(text)


GEMMA3N_OF_LLAMA_CPP = GEMMA3N | {
    # It knows no other sizes: ten sparse layers, twenty with keys and values of their own, a rank of 64, inputs of 256.
    "hidden_size_per_layer_input": 256,
    "num_hidden_layers": 25,
    "intermediate_size": 1024,  # it divides a gate's variance by one less, which a narrow one shows
    "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 5,
    "num_kv_shared_layers": 5,
    "activation_sparsity_pattern": [0.95] * 10 + [0.0] * 15,
    "laurel_rank": 64,
}


@pytest.mark.parametrize("level", [Format.F32, Format.Q8_0, Format.Q4_0], ids=lambda level: level.name)
def test_gemma3n_has_the_logits_of_llama_cpp(tmp_path: Path, level: Format) -> None:
    file = tmp_path / "m.gguf"
    quantize(open_checkpoint(write_checkpoint(tmp_path / "hf", config=GEMMA3N_OF_LLAMA_CPP)), file, level)
    ids = [int(token) for token in np.random.default_rng(7).integers(0, 280, 60)]
    ours = bezel.load(str(file)).logits(ids)
    with rival(file) as theirs:
        expected = rival_logits(theirs, ids)
    # It takes GELU from a table of halves and rounds activations otherwise; over 25 layers that adds up.
    share = {Format.F32: 0.02, Format.Q8_0: 0.15, Format.Q4_0: 0.2}[level]
    found = np.abs(ours - expected).max() / (expected.max() - expected.min())
    print(f"{level.name}: {found:.5f}")
    assert found <= share
