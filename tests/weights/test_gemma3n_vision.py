"""Gemma 3n's image tower from the file that llama.cpp's converter makes of it, and which towers such a file holds."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bezel.errors import ModelFileError, UnknownModelError, UnsupportedModelError
from bezel.kernels.reference import Reference
from bezel.models.vision.gemma3n import Gemma3nVision
from bezel.testing import GEMMA3, GEMMA3_VISION, vision_tensors, write_checkpoint, write_mmproj
from bezel.weights.audio import audio_of
from bezel.weights.checkpoint import CheckpointWeights, InTurn, open_checkpoint
from bezel.weights.projectors import projectors, towers_in
from bezel.weights.vision import open_vision, preprocessor_config, vision_of

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")
parity = import_module("tests.parity.test_gemma3n_vision")  # skips without timm

PIXELS = parity.picture(5, 64)


@pytest.fixture(scope="module")
def oracle() -> Any:
    return parity.Oracle().eval()


def write(path: Path, oracle: Any, **changes: Any) -> Path:
    """By the names and shapes of llama.cpp's conversion/gemma.py."""
    writer = gguf.GGUFWriter(path, "clip")
    fields = {"image_size": 64, "projection_dim": parity.HIDDEN, "embedding_length": 2048} | changes
    for name, value in fields.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_string("clip.vision.projector_type", "gemma3nv")
    writer.add_string("clip.audio.projector_type", "gemma3na")
    embedder = {"embedding": "embedding", "hard_embedding_norm": "hard_emb_norm"}
    embedder |= {"soft_embedding_norm": "soft_emb_norm", "embedding_projection": "input_projection"}
    for name, tensor in oracle.state_dict().items():
        array = tensor.numpy()
        if name.startswith("embed_vision."):
            name = f"mm.{embedder[name.split('.')[1]]}.weight"
        name = name.replace("vision_tower.timm_model.blocks.", "v.blk.").replace("vision_tower.timm_model.", "v.")
        if name.endswith(("conv_stem.conv.bias", "layer_scale.gamma")):
            array = array.reshape(1, -1, 1, 1)
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kept", [True, False])
def test_llama_cpps_file_sees_as_the_model_that_was_converted(oracle: Any, tmp_path: Path, kept: bool) -> None:
    view = open_vision(write(tmp_path / "mmproj.gguf", oracle))
    assert view.config["text_config"]["hidden_size"] == parity.HIDDEN
    assert preprocessor_config(view)["size"] == {"height": 64, "width": 64}
    config = parity.config_of()  # the file knows the published layout alone
    vision = Gemma3nVision(config, CheckpointWeights(replace(view, config=config), Reference(), kept=kept))
    assert isinstance(vision.vision_tower.blocks, list if kept else InTurn)
    for _ in range(2):
        parity.assert_close(vision(PIXELS), oracle.see(PIXELS)[1])
    view.close()


def test_a_file_says_which_towers_it_holds(oracle: Any, tmp_path: Path) -> None:
    both = write(tmp_path / "both.gguf", oracle)
    assert towers_in(both) == {"image", "audio"}
    folder = write_checkpoint(tmp_path / "gemma3", config=GEMMA3_VISION, prefix="language_model.model.")
    eyes = write_mmproj(tmp_path / "eyes.gguf", vision_tensors(folder))
    assert towers_in(eyes) == {"image"}
    one = {"general.architecture": "clip", "clip.projector_type": "gemma3na"}
    assert projectors(one) == {"audio": "gemma3na"} and projectors({"general.architecture": "llama"}) == {}
    with pytest.raises(UnknownModelError, match="no such file"):
        towers_in(tmp_path / "none.gguf")
    text = gguf.GGUFWriter(tmp_path / "text.gguf", "llama")
    text.write_header_to_file()
    text.write_kv_data_to_file()
    text.write_tensors_to_file()
    text.close()
    with pytest.raises(UnsupportedModelError, match="neither an image tower nor an audio tower"):
        towers_in(tmp_path / "text.gguf")


def test_a_tower_of_another_family_is_refused(oracle: Any, tmp_path: Path) -> None:
    both = write(tmp_path / "both.gguf", oracle)
    seeing = open_checkpoint(write_checkpoint(tmp_path / "gemma3", config=GEMMA3_VISION, prefix="model."))
    with pytest.raises(UnsupportedModelError, match="a gemma3 takes no image tower of"):
        vision_of(seeing, both)
    deaf = SimpleNamespace(path=tmp_path, config={"model_type": "gemma2"}, folder=tmp_path)
    with pytest.raises(UnsupportedModelError, match="a gemma2 takes no image tower"):
        vision_of(deaf, both)
    text = open_checkpoint(write_checkpoint(tmp_path / "text", config=GEMMA3))
    assert vision_of(text) is None and audio_of(text) is None
    with pytest.raises(ModelFileError, match="image_size"):
        open_vision(write(tmp_path / "empty.gguf", oracle, image_size=0))


def test_a_vector_of_another_shape_is_refused(oracle: Any, tmp_path: Path) -> None:
    view = open_vision(write(tmp_path / "mmproj.gguf", oracle))
    weights = CheckpointWeights(view, Reference())
    assert weights.vector("vision_tower.timm_model.conv_stem.conv.bias", 24).shape == (24,)
    for name, size in (("conv_stem.conv.bias", 12), ("blocks.0.0.conv_pwl.weight", 96 * 16)):
        with pytest.raises(ModelFileError, match=f"{name} has shape"):
            weights.vector(f"vision_tower.timm_model.{name}", size)
