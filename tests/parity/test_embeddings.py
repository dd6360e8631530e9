"""EmbeddingGemma's embeddings are those of Transformers and of the modules behind it, on random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bezel
from bezel.errors import (
    ContextLengthError,
    InvalidRequestError,
    ModelFileError,
    UnsupportedInputError,
    UnsupportedModelError,
)
from bezel.testing import GEMMA3, write_checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
WINDOW = 12
TEXTS = ["a", "the river runs by the old mill", "cats and dogs " * 8, "z" * 90]
PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}


@pytest.fixture(scope="module")
def oracle() -> Any:
    torch.manual_seed(3)
    config = {name: value for name, value in GEMMA3.items() if name != "model_type"}
    config |= {"vocab_size": 289, "sliding_window": WINDOW, "use_bidirectional_attention": True}
    model = transformers.Gemma3TextModel(transformers.Gemma3TextConfig(**config, attn_implementation="eager")).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 0.1)
    return model


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("embeds"))
    pieces = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    assert pieces <= 289
    oracle.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["sliding_window"] == WINDOW
    hidden = GEMMA3["hidden_size"]
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Dense", "Dense")]
    modules.append(("4_Normalize", "Normalize"))
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    write_module(folder / "1_Pooling", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})
    for name, shape in (("2_Dense", (96, hidden)), ("3_Dense", (24, 96))):
        write_module(folder / name, {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"})
        safetensors.save_file({"linear.weight": torch.randn(shape) * 0.2}, folder / name / "model.safetensors")
    return folder


def write_module(folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def model(folder: Path) -> bezel.Model:
    return bezel.load(str(folder))


def expected(oracle: Any, folder: Path, model: bezel.Model, text: str) -> np.ndarray:
    ids = [model.tokenizer.bos_id, *model.tokenizer.encode(text), model.tokenizer.eos_id]
    with torch.no_grad():
        found = oracle(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
        for name in ("2_Dense", "3_Dense"):
            found = safetensors.load_file(folder / name / "model.safetensors")["linear.weight"] @ found
    return np.asarray(found / found.norm())


@pytest.mark.parametrize("task", [None, *PROMPTS])
def test_embeddings_are_those_of_transformers(model: bezel.Model, oracle: Any, folder: Path, task: str | None) -> None:
    found = model.embed(TEXTS, task)
    assert found.shape == (4, 24) and found.dtype == np.float32
    for text, row in zip(TEXTS, found, strict=True):
        wanted = expected(oracle, folder, model, PROMPTS.get(task or "", "") + text)
        np.testing.assert_allclose(row, wanted, atol=1e-4)
        np.testing.assert_array_equal(model.embed(text, task)[0], row, "company changes nothing")


def test_every_row_sees_both_sides_as_far_as_the_window(model: bezel.Model) -> None:
    first, changed = (model.embed([text])[0] for text in ("a" + "b" * 40, "a" + "b" * 39 + "c"))
    assert np.abs(first - changed).max() > 1e-3


def test_fewer_dimensions_are_the_first_of_all_at_length_one(model: bezel.Model) -> None:
    whole, short = model.embed(TEXTS), model.embed(TEXTS, dimensions=8)
    cut = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(short, cut, atol=1e-6)


def test_what_cannot_be_embedded_is_refused(model: bezel.Model) -> None:
    for texts, options, complaint in (
        ([], {}, "without characters"),
        (["a", ""], {}, "without characters"),
        (["a"], {"task": "poem"}, "the model knows document, query"),
        (["a"], {"dimensions": 25}, "1 to 24"),
        (["a"], {"dimensions": 0}, "1 to 24"),
    ):
        with pytest.raises(InvalidRequestError, match=complaint):
            model.embed(texts, **options)
    with pytest.raises(ContextLengthError, match="cut it into parts"):
        model.embed("a" * 5000)
    with pytest.raises(UnsupportedInputError, match="embeds texts and answers none"):
        model.chat("hello")
    with pytest.raises(UnsupportedInputError, match="load one that writes"):
        model.logits([1, 2])
    with pytest.raises(UnsupportedInputError, match="embeddinggemma"):
        bezel.load("tiny").embed("hello")
    assert model.describe()["tasks"] == ["document", "query"] and model._backend.health()["status"] == "healthy"


@pytest.mark.parametrize("level", ["performance", "balanced"])
def test_levels_round_as_in_other_models(model: bezel.Model, folder: Path, level: str) -> None:
    rounded = bezel.load(str(folder), level).embed(TEXTS)
    likeness = (rounded * model.embed(TEXTS)).sum(1)
    assert (likeness < 1 - 1e-9).all() and (likeness > 0.98).all()


def test_options_of_models_that_write_are_refused(folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match="with a model that embeds, does not take draft"):
        bezel.load(str(folder), draft="tiny")


def test_modules_that_are_not_known_are_refused(folder: Path, tmp_path: Path) -> None:
    for change, kind, complaint in (
        ({"1_Pooling": {"pooling_mode_cls_token": True}}, UnsupportedModelError, "pooled by pooling_mode_cls_token"),
        ({"2_Dense": {"activation_function": "torch.nn.Tanh"}}, UnsupportedModelError, "activation"),
        ({"3_Dense": {"bias": True}}, UnsupportedModelError, "bias"),
    ):
        copy = tmp_path / complaint.split()[0]
        shutil.copytree(folder, copy)
        for name, config in change.items():
            write_module(copy / name, config)
        with pytest.raises(kind, match=complaint):
            bezel.load(str(copy))
    copy = tmp_path / "listed"
    shutil.copytree(folder, copy)
    for listed, kind, complaint in (
        ([{"path": "../x", "type": "a.Dense"}], ModelFileError, "outside of its folder"),
        ([{"path": "2_Dense", "type": "a.WordWeights"}], UnsupportedModelError, "not known"),
        ([{"path": "3_Dense", "type": "a.Dense"}], ModelFileError, "must take rows of"),
        ([3], ModelFileError, "no path or type"),
        ({}, ModelFileError, "not a list"),
    ):
        (copy / "modules.json").write_text(json.dumps(listed))
        with pytest.raises(kind, match=complaint):
            bezel.load(str(copy))
