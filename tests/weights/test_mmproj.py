"""Towers that are written as llama.cpp's files see and hear as the folders that they were made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import InvalidRequestError, UnsupportedModelError
from bezel.kernels.interface import Format
from bezel.kernels.reference import Reference
from bezel.models.audio.gemma3n import Gemma3nAudio
from bezel.models.vision.gemma3 import Gemma3Vision
from bezel.testing import GEMMA3_VISION, write_checkpoint
from bezel.weights import tower_names
from bezel.weights.audio import audio_of
from bezel.weights.checkpoint import Checkpoint, CheckpointWeights, open_checkpoint
from bezel.weights.mmproj import write_mmproj
from bezel.weights.quantize import quantize
from bezel.weights.vision import open_vision, preprocessor_config, vision_of

AUDIO = {"hidden_size": 64, "conf_num_hidden_layers": 2, "conf_num_attention_heads": 2, "input_feat_size": 32}
AUDIO |= {"sscp_conv_channel_size": [32, 8], "vocab_size": 8}


def seen(view: Checkpoint) -> np.ndarray:
    pixels = np.random.default_rng(1).uniform(-1, 1, (32, 32, 3)).astype(np.float32)
    return Gemma3Vision(view.config, CheckpointWeights(view, Reference()))(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_checkpoint(tmp_path_factory.mktemp("sees"), config=GEMMA3_VISION, prefix="language_model.model.")
    (path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.25, 0.5, 0.5]}))
    return path


@pytest.mark.parametrize(("level", "share"), [(Format.F16, 2e-3), (Format.Q8_0, 0.03)])
def test_an_image_tower_sees_as_before(folder: Path, tmp_path: Path, level: Format, share: float) -> None:
    view = vision_of(open_checkpoint(folder))
    assert view is not None
    text, file = tmp_path / "model.gguf", tmp_path / "mmproj-model.gguf"
    assert write_mmproj(view, file, level) == file.stat().st_size
    quantize(open_checkpoint(folder), text, Format.Q8_0)
    beside = vision_of(open_checkpoint(text))
    assert beside is not None and beside.path == file, "found beside the text model"
    assert set(beside.stored_names) == set(view.stored_names)
    query = beside.info("vision_tower.encoder.layers.1.self_attn.q_proj.weight")
    assert query.format is level
    exact = seen(view)
    error = np.abs(seen(beside) - exact).max() / np.ptp(exact)
    assert 0 < error < share
    assert preprocessor_config(beside)["image_mean"] == [0.25, 0.5, 0.5]


def test_an_audio_tower_hears_as_before_and_keeps_its_number_of_tokens(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("transformers.models.gemma3n.modeling_gemma3n")
    from safetensors.numpy import save_file

    config = modeling.Gemma3nAudioConfig(**AUDIO)
    torch.manual_seed(4)
    parts = {
        "audio_tower": modeling.Gemma3nAudioEncoder(config),
        "embed_audio": modeling.Gemma3nMultimodalEmbedder(config, modeling.Gemma3nTextConfig(hidden_size=32)),
    }
    tensors = {
        f"model.{part}.{name}": torch.randn(tensor.shape).numpy() * np.float32(0.3)
        for part, module in parts.items()
        for name, tensor in module.named_parameters()
    }
    save_file(tensors, tmp_path / "model.safetensors")
    whole = {"model_type": "gemma3n", "audio_config": AUDIO, "text_config": {"hidden_size": 32}}
    whole |= {"audio_soft_tokens_per_image": 12}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    checkpoint = open_checkpoint(tmp_path)
    view = audio_of(checkpoint)
    assert view is not None
    write_mmproj(view, tmp_path / "mmproj.gguf", Format.Q8_0)
    beside = audio_of(checkpoint, tmp_path / "mmproj.gguf")
    assert beside is not None and set(beside.stored_names) == set(view.stored_names)
    features = np.random.default_rng(2).normal(-2, 3, (90, 32)).astype(np.float32)
    exact, found = (Gemma3nAudio(v.config, CheckpointWeights(v, Reference())).span(features) for v in (view, beside))
    assert exact.shape == found.shape == (13, 32)
    assert 0 < np.abs(found - exact).max() / np.ptp(exact) < 0.05


def test_what_cannot_be_written_is_refused(folder: Path, tmp_path: Path) -> None:
    view = vision_of(open_checkpoint(folder))
    assert view is not None
    with pytest.raises(InvalidRequestError, match="choose F16 or Q8_0"):
        write_mmproj(view, tmp_path / "x.gguf", Format.Q4_0)
    write_mmproj(view, tmp_path / "mmproj.gguf", Format.F16)
    with pytest.raises(InvalidRequestError, match="is a GGUF file already"):
        write_mmproj(open_vision(tmp_path / "mmproj.gguf"), tmp_path / "x.gguf", Format.F16)
    assert not (tmp_path / "x.gguf").exists()
    for inverse, name in (
        (tower_names.vision_to_gguf, "vision_tower.head.weight"),
        (tower_names.audio_to_gguf, "audio_tower.conformer.0.unknown.weight"),
        (tower_names.audio_to_gguf, "audio_tower.conformer.0.norm.scale"),
    ):
        with pytest.raises(UnsupportedModelError, match="has no name"):
            inverse(name)
