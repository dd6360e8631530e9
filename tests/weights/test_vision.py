"""Image towers from a Hugging Face folder, and from llama.cpp's file beside a GGUF model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.errors import ModelFileError, UnknownModelError, UnsupportedModelError
from bezel.kernels.interface import Format, Kernels
from bezel.kernels.reference import Reference
from bezel.models.vision.gemma3 import Gemma3Vision
from bezel.testing import GEMMA3_VISION, vision_tensors, write_checkpoint, write_mmproj
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint
from bezel.weights.quantize import quantize
from bezel.weights.vision import preprocessor_config, vision_of

KERNELS: Kernels = Reference()
TOWER = GEMMA3_VISION["vision_config"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("sees"), config=GEMMA3_VISION, prefix="language_model.model.")


def seen(view: Any, level: Format | None = None) -> np.ndarray:
    pixels = np.random.default_rng(1).uniform(-1, 1, (32, 32, 3)).astype(np.float32)
    return Gemma3Vision(view.config, CheckpointWeights(view, KERNELS, level))(pixels)


@pytest.fixture(scope="module")
def exact(folder: Path) -> np.ndarray:
    view = vision_of(open_checkpoint(folder))
    assert view is not None
    return seen(view)


def test_a_folder_saved_by_transformers_sees_as_the_model_that_was_saved(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(2)
    model = transformers.Gemma3ForConditionalGeneration(
        transformers.Gemma3Config(**GEMMA3_VISION | {"vision_config": TOWER | {"vision_use_head": False}})
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
        pixels = np.random.default_rng(1).uniform(-1, 1, (32, 32, 3)).astype(np.float32)
        given = torch.tensor(pixels).permute(2, 0, 1)[None]
        expected = model.get_image_features(given, return_dict=True).pooler_output[0].numpy()
    model.save_pretrained(tmp_path)
    view = vision_of(open_checkpoint(tmp_path))
    assert view is not None
    np.testing.assert_allclose(seen(view), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("swapped", [False, True])
def test_a_gguf_file_beside_the_model_is_found_and_sees_the_same(
    folder: Path, exact: np.ndarray, tmp_path: Path, swapped: bool
) -> None:
    text = tmp_path / "model-Q8_0.gguf"
    quantize(open_checkpoint(folder), text, Format.Q8_0)
    assert vision_of(open_checkpoint(text)) is None
    beside = write_mmproj(tmp_path / "mmproj-model-f16.gguf", vision_tensors(folder), swapped)
    view = vision_of(open_checkpoint(text))
    assert view is not None and view.path == beside
    np.testing.assert_allclose(seen(view), exact, atol=2e-3 * np.abs(exact).max())
    assert list(preprocessor_config(view)["image_mean"]) == [0.25, 0.5, 0.5]
    elsewhere = shutil.move(beside, tmp_path / "eyes.gguf")
    named = vision_of(open_checkpoint(text), tmp_path / "eyes.gguf")
    assert named is not None and str(named.path) == str(elsewhere)
    with pytest.raises(UnknownModelError, match="no such file"):
        vision_of(open_checkpoint(text), beside)


@pytest.mark.parametrize(("level", "share"), [(Format.BF16, 0.02), (Format.Q8_0, 0.03), (Format.Q4_0, 0.5)])
def test_a_tower_is_rounded_to_a_level_where_its_blocks_fit(
    folder: Path, exact: np.ndarray, level: Format, share: float
) -> None:
    view = vision_of(open_checkpoint(folder))
    assert view is not None
    vision = Gemma3Vision(view.config, CheckpointWeights(view, KERNELS, level))
    layer = vision.vision_tower.layers[0]
    kept = [layer.self_attn.qkv, layer.mlp.fc1, layer.mlp.fc2]
    assert {linear.matrix.format for linear in kept} == {level} == {vision.multi_modal_projector.projection.format}
    assert (layer.mlp.fc1.matrix.rows, layer.mlp.fc2.matrix.columns) == (64, 64), "40 has no whole groups of 32"
    patches = Format.BF16 if level is Format.BF16 else Format.F16  # 48 values a patch
    assert vision.vision_tower.patch_embedding.matrix.format is patches
    error = np.abs(seen(view, level) - exact).max() / np.ptp(exact)
    assert 1e-5 < error < share


def test_published_configs_leave_out_what_is_as_in_transformers(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(
        json.dumps(config | {"text_config": {"hidden_size": 64}, "torch_dtype": "bfloat16"})
    )
    text = open_checkpoint(tmp_path / "copy").config["text_config"]
    transformers = pytest.importorskip("transformers")
    defaults = transformers.Gemma3TextConfig().to_dict()
    assert {name: text[name] for name in text if name not in ("hidden_size", "dtype")}.items() <= defaults.items()
    assert (text["hidden_size"], text["dtype"], text["num_attention_heads"]) == (64, "bfloat16", 8)


def test_towers_that_contradict_themselves_are_named(folder: Path, tmp_path: Path) -> None:
    tensors = vision_tensors(folder)
    text = tmp_path / "model.gguf"
    quantize(open_checkpoint(folder), text, Format.Q8_0)
    checkpoint = open_checkpoint(text)
    lost = {name: array for name, array in tensors.items() if "layers.1.mlp.fc2.bias" not in name}
    cases = [
        (lost, {}, r"layers\.1\.mlp\.fc2\.bias"),
        (tensors, {"block_count": 3}, r"layers\.2\."),
        ({}, {}, "ffn_up"),
    ]
    cases += [(tensors, {"embedding_length": 64}, "has shape"), (tensors, {"image_size": 30}, "patches")]
    for number, (given, changes, named) in enumerate(cases):
        path = write_mmproj(tmp_path / f"{number}.gguf", given, **changes)
        with pytest.raises(ModelFileError, match=named):
            view = vision_of(checkpoint, path)
            assert view is not None
            seen(view)
    with pytest.raises(UnsupportedModelError, match=r"no image tower of Gemma 3"):
        vision_of(checkpoint, text)
    other = replace(checkpoint, config={**checkpoint.config, "model_type": "gemma2"})
    with pytest.raises(UnsupportedModelError, match="a gemma2 takes no image tower"):
        vision_of(other, text)
