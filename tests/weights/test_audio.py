"""Gemma 3n's audio tower from a Hugging Face folder, and from the file that llama.cpp's converter makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.errors import ModelFileError, UnknownModelError, UnsupportedModelError
from bezel.kernels.interface import Format
from bezel.kernels.reference import Reference
from bezel.models.audio.gemma3n import Gemma3nAudio
from bezel.testing import GEMMA3, write_checkpoint
from bezel.weights.audio import audio_of, open_audio
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint

torch = pytest.importorskip("torch")
modeling = pytest.importorskip("transformers.models.gemma3n.modeling_gemma3n")
gguf = pytest.importorskip("gguf")

AUDIO = {"hidden_size": 64, "conf_num_hidden_layers": 2, "conf_num_attention_heads": 2, "input_feat_size": 32}
AUDIO |= {"sscp_conv_channel_size": [32, 8], "vocab_size": 8}
TEXT = {"hidden_size": 32}
CONFIG = {"model_type": "gemma3n", "audio_config": AUDIO, "text_config": TEXT}


class Ears(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = modeling.Gemma3nAudioConfig(**AUDIO)
        self.audio_tower = modeling.Gemma3nAudioEncoder(config)
        self.embed_audio = modeling.Gemma3nMultimodalEmbedder(config, modeling.Gemma3nTextConfig(**TEXT))
        torch.manual_seed(4)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.3)


@pytest.fixture(scope="module")
def ears() -> Ears:
    return Ears().eval()


@pytest.fixture(scope="module")
def tensors(ears: Ears) -> dict[str, np.ndarray]:
    """As they are in published folders."""
    state = {f"model.{name}": tensor.numpy() for name, tensor in ears.state_dict().items()}
    return state | {"model.vision_tower.stem.weight": np.zeros((4, 4), np.float32)}


FEATURES = np.random.default_rng(2).normal(-2, 3, (90, 32)).astype(np.float32)


def heard(view: Any, level: Format | None = None) -> np.ndarray:
    return Gemma3nAudio(view.config, CheckpointWeights(view, Reference(), level))(FEATURES)


@pytest.fixture(scope="module")
def expected(ears: Ears) -> np.ndarray:
    with torch.no_grad():
        rows = ears.audio_tower(torch.tensor(FEATURES)[None], torch.zeros(1, 90, dtype=bool)).last_hidden_state
        return ears.embed_audio(inputs_embeds=rows)[0].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, np.ndarray]) -> Path:
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("hears")
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(CONFIG))
    return path


def test_a_folder_hears_as_transformers_do(folder: Path, expected: np.ndarray) -> None:
    view = audio_of(open_checkpoint(folder))
    assert view is not None
    np.testing.assert_allclose(heard(view), expected, atol=1e-3 * np.ptp(expected))


@pytest.mark.parametrize(("level", "share"), [(Format.BF16, 0.05), (Format.Q8_0, 0.05), (Format.Q4_0, 0.7)])
def test_a_tower_is_rounded_to_a_level(folder: Path, expected: np.ndarray, level: Format, share: float) -> None:
    view = audio_of(open_checkpoint(folder))
    assert view is not None
    audio = Gemma3nAudio(view.config, CheckpointWeights(view, Reference(), level))
    block, convolutions = audio.audio_tower.conformer[1], audio.audio_tower.subsample_conv_projection
    kept = [block.attention.qkv, block.lconv1d.linear_end, block.ffw_layer_end.ffw_layer_2, convolutions.conv_1.conv]
    assert {matrix.format for matrix in kept} == {level} == {audio.embed_audio.embedding_projection.format}
    assert convolutions.conv_0.conv.format is (level if level is Format.BF16 else Format.F16)  # 9 values a window
    error = np.abs(heard(view, level) - expected).max() / np.ptp(expected)
    assert 1e-5 < error < share


def write_ears(path: Path, tensors: dict[str, np.ndarray], kind: str = "gemma3na", **changes: int) -> Path:
    """What llama.cpp's converter writes: names by the table of its own library, but of two norms that this lacks."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, 2)
    writer = gguf.GGUFWriter(path, "clip")
    fields = {"embedding_length": 64, "block_count": 2, "attention.head_count": 2, "num_mel_bins": 32}
    for name, value in (fields | {"projection_dim": 32} | changes).items():
        writer.add_uint32(f"clip.audio.{name}", value)
    writer.add_float32("clip.audio.attention.layer_norm_epsilon", 1e-5)
    writer.add_string("clip.audio.projector_type", kind)
    for name, array in tensors.items():
        if "audio" not in name:
            continue
        name = name.replace("model.audio_tower.conformer.", "conformer.layers.")
        found = names.get_name(name, try_suffixes=(".weight",))
        if name.endswith("norm.weight") and "subsample" in name:
            found = f"a.conv1d.{name[len('model.audio_tower.subsample_conv_projection.conv_')]}.norm.weight"
        writer.add_tensor(found, array.astype(np.float16) if array.ndim > 1 else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_hears_the_same_when_it_is_named(
    folder: Path, tensors: dict[str, np.ndarray], expected: np.ndarray, tmp_path: Path
) -> None:
    beside = write_ears(tmp_path / "mmproj.gguf", tensors)
    view = audio_of(open_checkpoint(folder), beside)
    assert view is not None and view.path == beside
    assert set(view.stored_names) == {name.removeprefix("model.") for name in tensors if "audio" in name}
    np.testing.assert_allclose(heard(view), expected, atol=5e-3 * np.ptp(expected))


def test_what_has_no_ears_says_so(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    text = open_checkpoint(write_checkpoint(tmp_path / "text", config=GEMMA3))
    assert audio_of(text) is None
    with pytest.raises(UnknownModelError, match="give the mmproj file"):
        audio_of(text, tmp_path / "none.gguf")
    with pytest.raises(UnsupportedModelError, match="'ultravox' is no audio tower"):
        open_audio(write_ears(tmp_path / "other.gguf", tensors, "ultravox"))
    with pytest.raises(ModelFileError, match=r"zero.gguf: config: clip.audio.block_count is 0"):
        open_audio(write_ears(tmp_path / "zero.gguf", tensors, block_count=0))
    less = {name: array for name, array in tensors.items() if "embed_audio.embedding.weight" not in name}
    with pytest.raises(ModelFileError, match=r"less.gguf: tensor embed_audio.embedding.weight is missing"):
        open_audio(write_ears(tmp_path / "less.gguf", less))
