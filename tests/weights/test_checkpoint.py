"""From files to a running model: a Hugging Face folder and a GGUF of the same weights answer alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.errors import InvalidRequestError, ModelFileError, UnknownModelError
from bezel.generation.loop import all_logits
from bezel.kernels.formats import quantize
from bezel.kernels.interface import Format
from bezel.kernels.reference import Reference
from bezel.models.registry import build
from bezel.testing import PALIGEMMA, PALIGEMMA2, write_checkpoint
from bezel.weights.checkpoint import LEVELS, CheckpointWeights, open_checkpoint
from bezel.weights.companions import folder_template
from bezel.weights.names import to_gguf

CONFIG = {
    "model_type": "gemma3_text",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "sliding_window": 8,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
    "sliding_window_pattern": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
}
TOKENS = [2, 7, 40, 9, 9, 63, 1, 0, 5, 11, 12, 13]


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens": (64, 32), "norm": (32,)}
    for i in range(2):
        part = {"q_proj": (64, 32), "k_proj": (32, 32), "v_proj": (32, 32), "o_proj": (32, 64)}
        shapes |= {f"layers.{i}.self_attn.{name}": shape for name, shape in part.items()}
        shapes |= {f"layers.{i}.self_attn.{name}": (32,) for name in ("q_norm", "k_norm")}
        part = {"gate_proj": (64, 32), "up_proj": (64, 32), "down_proj": (32, 64)}
        shapes |= {f"layers.{i}.mlp.{name}": shape for name, shape in part.items()}
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            shapes[f"layers.{i}.{norm}_layernorm"] = (32,)
    return {f"{name}.weight": rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def folder(path: Path) -> Path:
    import json

    library = pytest.importorskip("safetensors.numpy")
    path.mkdir()
    library.save_file({f"model.{name}": array for name, array in tensors().items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(CONFIG))
    return path


def gguf_file(path: Path, format: Format = Format.F32) -> Path:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(8)
    writer.add_uint32("gemma3.attention.sliding_window_pattern", 2)
    writer.add_rope_freq_base(1e6)
    for name, array in tensors().items():
        if array.ndim == 1:
            writer.add_tensor(to_gguf("gemma3", name), array + 1)
        else:
            raw = quantize(format, array)
            writer.add_tensor(to_gguf("gemma3", name), raw, raw_dtype=gguf.GGMLQuantizationType[format.name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(path: Path, level: Format | None = None) -> np.ndarray:
    checkpoint = open_checkpoint(path)
    try:
        return all_logits(build(checkpoint.config, CheckpointWeights(checkpoint, Reference(), level)), TOKENS)
    finally:
        checkpoint.close()


def test_folder_and_gguf_give_the_same_bits(tmp_path: Path) -> None:
    np.testing.assert_array_equal(logits(folder(tmp_path / "hf")), logits(gguf_file(tmp_path / "m.gguf")))


@pytest.mark.parametrize("level", LEVELS)
def test_rounding_at_load_equals_a_file_rounded_before(tmp_path: Path, level: str) -> None:
    format = LEVELS[level]
    rounded = logits(folder(tmp_path / "hf"), format)
    np.testing.assert_array_equal(rounded, logits(gguf_file(tmp_path / "m.gguf", format)))
    assert not np.array_equal(rounded, logits(tmp_path / "hf"))


def test_a_second_rounding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="second loss"):
        logits(gguf_file(tmp_path / "m.gguf", Format.Q4_0), Format.Q8_0)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="no such file"):
        open_checkpoint(tmp_path / "none.gguf")
    path = folder(tmp_path / "hf")
    (path / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config\.json: not valid JSON"):
        open_checkpoint(path)
    (path / "config.json").unlink()
    with pytest.raises(ModelFileError, match=r"config\.json: missing"):
        open_checkpoint(path)


@pytest.mark.parametrize(("config", "half", "window"), [(PALIGEMMA, "gemma", None), (PALIGEMMA2, "gemma2", 4096)])
def test_what_a_text_config_leaves_out_is_transformers_default(
    tmp_path: Path, config: dict[str, Any], half: str, window: int | None
) -> None:
    folder = write_checkpoint(tmp_path, config=config)
    written = json.loads((folder / "config.json").read_text())
    text = {name: value for name, value in written["text_config"].items() if name in ("model_type", "hidden_size")}
    (folder / "config.json").write_text(json.dumps(written | {"text_config": text, "torch_dtype": "bfloat16"}))
    found = open_checkpoint(folder).config["text_config"]
    assert found["hidden_size"] == 64 and found["head_dim"] == 256 and found["dtype"] == "bfloat16"
    assert found["model_type"] == half and found.get("sliding_window") == window


def test_the_template_of_a_processor_goes_before_that_of_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "of the tokenizer"}))
    assert folder_template(tmp_path) == "of the tokenizer"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "of the processor"}))
    assert folder_template(tmp_path) == "of the processor"
    (tmp_path / "chat_template.jinja").write_text("in a file")
    assert folder_template(tmp_path) == "in a file"
