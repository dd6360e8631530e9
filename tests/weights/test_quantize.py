"""Checkpoints become GGUF files that hold the same weights, say the same config and give the same logits."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.errors import InvalidRequestError, ModelFileError, StorageError, UnsupportedModelError
from bezel.generation.loop import all_logits
from bezel.kernels.formats import dequantize
from bezel.kernels.formats import quantize as round_rows
from bezel.kernels.interface import Format
from bezel.kernels.reference import Reference
from bezel.models.registry import build
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint
from bezel.weights.companions import recommended_sampling
from bezel.weights.gemma3n_files import format_at
from bezel.weights.gguf import GGUFFile
from bezel.weights.quantize import _config, _shapes, quantize

library = pytest.importorskip("safetensors.numpy")
BASE: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
}
SLIDING = {"query_pre_attn_scalar": 32, "sliding_window": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma": BASE | {"model_type": "gemma", "rope_theta": 500.0},
    "gemma2": BASE | SLIDING | {"model_type": "gemma2", "attn_logit_softcapping": 1.5, "final_logit_softcapping": 3.0},
    "gemma3": BASE
    | SLIDING
    | {
        "model_type": "gemma3_text",
        "rope_theta": 5000.0,
        "rope_local_base_freq": 100.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "final_logit_softcapping": 3.0,
        "tie_word_embeddings": False,
    },
    "gemma3n": BASE
    | {
        "model_type": "gemma3n_text",
        "num_hidden_layers": 4,
        "intermediate_size": [64, 96, 64, 32],
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
        },
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.9, 0.0, 0.95, 0.5],
        "vocab_size_per_layer_input": 300,
        "hidden_size_per_layer_input": 32,
        "laurel_rank": 32,
        "altup_active_idx": 1,
        "final_logit_softcapping": 3.0,
    },
}
TOKENS = [2, 7, 40, 9, 9, 63, 1, 0, 5, 11, 12, 13]


def folder(path: Path, config: dict[str, Any], multimodal: bool = False, dtype: str = "float32") -> Path:
    path.mkdir()
    text_prefix = "language_model.model." if multimodal else "model."
    (path / "config.json").write_text(
        json.dumps({"model_type": "gemma3", "text_config": config} if multimodal else config)
    )
    library.save_file({}, path / "model.safetensors")
    opened = open_checkpoint(path)
    shapes = _shapes(_config(opened)[1])
    opened.close()
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(0, 0.3, shape).astype(dtype) for name, shape in shapes.items()}
    head = arrays.pop("lm_head.weight", None)
    stored = {text_prefix + name: array for name, array in arrays.items()}
    if head is not None:
        stored["lm_head.weight"] = head
    if multimodal:
        stored["vision_tower.patch.weight"] = np.zeros((3, 3), np.float32)
    library.save_file(stored, path / "model.safetensors")
    return path


def convert(source: Path, target: Path, level: Format, **changes: Any) -> Path:
    checkpoint = open_checkpoint(source)
    try:
        assert quantize(checkpoint, target, level, **changes) == target.stat().st_size
    finally:
        checkpoint.close()
    return target


def values(path: Path) -> dict[str, np.ndarray]:
    """Every tensor in float32 under its canonical name, norms as 1 + w."""
    checkpoint = open_checkpoint(path)
    found = {}
    for name in _shapes(_config(checkpoint)[1]):
        info = checkpoint.info(name)
        rows = 1 if len(info.shape) == 1 else info.shape[0]
        wide = dequantize(info.readable(), checkpoint.source.read_rows(info.name, info.first_row, rows), info.columns)
        found[name] = wide + 1 if rows == 1 and checkpoint.norms_lack_one else wide
    checkpoint.close()
    return found


def logits(path: Path, level: Format | None = None) -> np.ndarray:
    checkpoint = open_checkpoint(path)
    try:
        return all_logits(build(checkpoint.config, CheckpointWeights(checkpoint, Reference(), level)), TOKENS)
    finally:
        checkpoint.close()


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("level", [Format.F32, Format.BF16, Format.Q8_0, Format.Q4_0])
def test_weights_config_and_logits_come_through(tmp_path: Path, family: str, level: Format) -> None:
    source = folder(tmp_path / "hf", CONFIGS[family])
    target = convert(source, tmp_path / "m.gguf", level)
    before, after = values(source), values(target)
    assert before.keys() == after.keys()
    for name, wide in before.items():
        kept = len(wide) == 1
        format = format_at(name, level)
        expected = wide if kept else dequantize(format, round_rows(format, wide), wide.shape[1])
        np.testing.assert_array_equal(after[name], expected)
    first, second = open_checkpoint(source), open_checkpoint(target)
    ours, theirs = _config(first)[1], _config(second)[1]
    assert set(vars(ours)) == set(vars(theirs))
    for name, value in vars(ours).items():
        if name in ("sliding", "shared_with"):  # flags and places, which approx takes for numbers
            assert vars(theirs)[name] == value
            continue
        assert vars(theirs)[name] == pytest.approx(value, rel=1e-7), name
    first.close()
    second.close()
    if family != "gemma3n" or level is Format.F32:  # a level rounds a table on disk when it is written, not when read
        np.testing.assert_allclose(logits(target), logits(source, level), rtol=1e-4, atol=1e-5)


def test_gemma3n_files_have_what_llama_cpp_wants_whatever_the_source_has(tmp_path: Path) -> None:
    """Keys and values that nothing reads, and as many rows in the table as there are ids."""
    source = folder(tmp_path / "hf", CONFIGS["gemma3n"] | {"vocab_size_per_layer_input": 290})
    file = GGUFFile.open(convert(source, tmp_path / "m.gguf", Format.Q8_0))
    assert not file.read_rows("blk.3.attn_k.weight", 0, 32).any()
    table = file.read_rows("per_layer_token_embd.weight", 0, 300)
    assert np.array_equal(table[290:], np.repeat(table[:1], 10, axis=0)) and table[:290].any(axis=1).all()
    assert file.tensors["altup_proj.weight"].shape == (3, 32, 32)
    np.testing.assert_allclose(logits(tmp_path / "m.gguf"), logits(source, Format.Q8_0), atol=0.2)
    (source / "model.safetensors").rename(tmp_path / "all")
    tensors = library.load_file(tmp_path / "all")
    tensors["model.layers.3.self_attn.k_proj.weight"] = np.ones((32, 32), np.float32)
    library.save_file(tensors, source / "model.safetensors")
    file = GGUFFile.open(convert(source, tmp_path / "m.gguf", Format.Q8_0))
    assert file.read_rows("blk.3.attn_k.weight", 0, 32).any()
    assert not file.read_rows("blk.2.attn_k.weight", 0, 32).any()


def test_the_text_part_of_a_multimodal_folder_is_taken(tmp_path: Path) -> None:
    config = CONFIGS["gemma3"] | {"tie_word_embeddings": True}
    source = folder(tmp_path / "hf", config, multimodal=True)
    file = GGUFFile.open(convert(source, tmp_path / "m.gguf", Format.BF16))
    assert file.metadata["general.architecture"] == "gemma3"
    assert not any("vision" in name for name in file.tensors) and "output.weight" not in file.tensors


@pytest.mark.parametrize(
    ("kinds", "pattern"), [("SFS", [True, False, True]), ("SSF", 3), ("FFF", 1), ("FSS", [False, True, True])]
)
def test_which_layers_slide_is_a_period_or_flags(tmp_path: Path, kinds: str, pattern: Any) -> None:
    names = {"S": "sliding_attention", "F": "full_attention"}
    config = CONFIGS["gemma3"] | {"layer_types": [names[kind] for kind in kinds]}
    file = GGUFFile.open(convert(folder(tmp_path / "hf", config), tmp_path / "m.gguf", Format.F32))
    expected = 2 if kinds == "SFS" else pattern
    assert file.metadata["gemma3.attention.sliding_window_pattern"] == expected
    assert file.metadata["gemma3.rope.scaling.type"] == "linear"


def test_rows_that_blocks_do_not_divide_stay_f16(tmp_path: Path) -> None:
    config = CONFIGS["gemma"] | {"intermediate_size": 40}
    file = GGUFFile.open(convert(folder(tmp_path / "hf", config), tmp_path / "m.gguf", Format.Q4_0))
    assert file.tensors["blk.0.ffn_down.weight"].format is Format.F16
    assert file.tensors["blk.0.ffn_up.weight"].format is Format.Q4_0
    assert file.metadata["general.file_type"] == 2


SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PIECES = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "a",
    "b",
    "c",
    "▁",
    "bc",
    "abc",
    "<start_of_turn>",
    "<end_of_turn>",
    "\n\n",
]


def write_tokenizer(path: Path, **model: Any) -> None:
    vocab = {piece: i for i, piece in enumerate(PIECES)} | {f"<0x{i:02X}>": 20 + i for i in range(256)}
    added = [{"id": i, "content": PIECES[i], "special": i != 12} for i in (0, 1, 2, 3, 10, 11, 12)]
    added.append({"id": 300, "content": "<image_soft_token>", "special": True})
    model = {"type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "vocab": vocab, "merges": []} | model
    (path / "tokenizer.json").write_text(json.dumps({"normalizer": SPACES, "model": model, "added_tokens": added}))
    (path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": {"content": "<bos>"}, "eos_token": "<eos>", "chat_template": "in config"})
    )


@pytest.mark.parametrize("merges", [["b c", "a bc"], [["b", "c"], ["a", "bc"]]])
def test_the_tokenizer_becomes_metadata_and_passes_through(tmp_path: Path, merges: Any) -> None:
    source = folder(tmp_path / "hf", CONFIGS["gemma3"])
    write_tokenizer(source, merges=merges)
    first = GGUFFile.open(convert(source, tmp_path / "m.gguf", Format.BF16)).metadata
    get = {key.removeprefix("tokenizer.ggml."): value for key, value in first.items()}
    assert get["model"] == "llama" and len(get["tokens"]) == len(get["scores"]) == 300
    assert get["tokens"][: len(PIECES)] == PIECES and get["tokens"][20 + 0x41] == "<0x41>"
    assert [get["token_type"][i] for i in (0, 3, 4, 12, 13, 20)] == [3, 2, 1, 4, 5, 6]
    assert get["scores"][8] > get["scores"][9] > get["scores"][4]
    ids = {key: get[f"{key}_token_id"] for key in ("bos", "eos", "unknown", "padding", "eot")}
    assert ids == {"bos": 2, "eos": 1, "unknown": 3, "padding": 0, "eot": 11}
    assert (get["add_bos_token"], get["add_eos_token"], get["add_space_prefix"]) == (True, False, False)
    assert first["tokenizer.chat_template"] == "in config"
    second = GGUFFile.open(convert(tmp_path / "m.gguf", tmp_path / "n.gguf", Format.Q8_0)).metadata
    changed = {"general.file_type": 7}
    assert second == {**first, **changed}


def test_a_template_of_its_own_file_wins(tmp_path: Path) -> None:
    source = folder(tmp_path / "hf", CONFIGS["gemma3"])
    write_tokenizer(source)
    (source / "chat_template.jinja").write_text("in file")
    metadata = GGUFFile.open(convert(source, tmp_path / "m.gguf", Format.BF16)).metadata
    assert metadata["tokenizer.chat_template"] == "in file"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"do_sample": False, "top_k": 5}, {"temperature": 0.0}),
        ({"do_sample": True, "temperature": 0.75, "top_k": 64}, {"temperature": 0.75, "top_k": 64}),
        ({"eos_token_id": 1, "top_p": "x"}, {}),
    ],
)
def test_recommended_sampling_comes_through(tmp_path: Path, settings: dict[str, Any], expected: Any) -> None:
    source = folder(tmp_path / "hf", CONFIGS["gemma3"])
    (source / "generation_config.json").write_text(json.dumps(settings))
    for path in (source, convert(source, tmp_path / "m.gguf", Format.BF16)):
        checkpoint = open_checkpoint(path)
        assert recommended_sampling(checkpoint) == expected
        checkpoint.close()


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ({"byte_fallback": False}, UnsupportedModelError, "byte_fallback"),
        ({"vocab": []}, ModelFileError, "vocab"),
        ({"merges": 7}, ModelFileError, "merges is not a list"),
    ],
)
def test_broken_tokenizers_are_named(tmp_path: Path, model: dict[str, Any], error: type, message: str) -> None:
    source = folder(tmp_path / "hf", CONFIGS["gemma3"])
    write_tokenizer(source, **model)
    with pytest.raises(error, match=rf"tokenizer\.json: .*{message}"):
        convert(source, tmp_path / "m.gguf", Format.BF16)
    assert not list(tmp_path.glob("*m.gguf*"))


@pytest.mark.parametrize("level", [Format.Q8_0, Format.BF16, Format.F32])
def test_a_second_rounding_is_refused(tmp_path: Path, level: Format) -> None:
    rounded = convert(folder(tmp_path / "hf", CONFIGS["gemma3"]), tmp_path / "q4.gguf", Format.Q4_0)
    with pytest.raises(InvalidRequestError, match=r"stored as Q4_0 .* second loss"):
        convert(rounded, tmp_path / "m.gguf", level)
    again = convert(rounded, tmp_path / "again.gguf", Format.Q4_0)
    assert again.read_bytes() == rounded.read_bytes()


def test_requests_that_cannot_be_met_say_why(tmp_path: Path) -> None:
    source = folder(tmp_path / "hf", CONFIGS["gemma3"])
    with pytest.raises(InvalidRequestError, match="Q4_K cannot be written; choose"):
        convert(source, tmp_path / "m.gguf", Format.Q4_K)
    whole = convert(source, tmp_path / "m.gguf", Format.F32)
    with pytest.raises(InvalidRequestError, match="is being read"):
        convert(whole, whole, Format.Q8_0)
    scaled = folder(tmp_path / "scaled", CONFIGS["gemma3"] | {"query_pre_attn_scalar": 20})
    with pytest.raises(UnsupportedModelError, match="query_pre_attn_scalar is 20"):
        convert(scaled, tmp_path / "s.gguf", Format.F32)
    narrow = folder(tmp_path / "narrow", CONFIGS["gemma3"])
    (narrow / "config.json").write_text(json.dumps(CONFIGS["gemma3"] | {"vocab_size": 299}))
    with pytest.raises(ModelFileError, match=r"embed_tokens.weight has shape \(300, 32\)"):
        convert(narrow, tmp_path / "s.gguf", Format.F32)
    with pytest.raises(UnsupportedModelError, match="tie the embeddings"):
        folder(tmp_path / "untied", CONFIGS["gemma2"] | {"tie_word_embeddings": False})


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = folder(tmp_path / "hf", CONFIGS["gemma3"])
    convert(source, tmp_path / "m.gguf", Format.BF16, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1] and len(seen) > 10


@pytest.mark.parametrize("calls", [1, 5])
def test_an_interruption_leaves_nothing(tmp_path: Path, calls: int) -> None:
    source = folder(tmp_path / "hf", CONFIGS["gemma3"])
    left = [calls]

    def stop(done: int, total: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "m.gguf", Format.Q8_0, progress=stop)
    assert list(tmp_path.iterdir()) == [source]


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path / "hf", CONFIGS["gemma3"])
    write, room = os.write, [4000]

    def fills(handle: int, data: Any) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)
        return write(handle, data)

    monkeypatch.setattr(os, "write", fills)
    with pytest.raises(StorageError, match=r"m\.gguf: \d+ bytes cannot be written"):
        convert(source, tmp_path / "m.gguf", Format.Q8_0)
    assert list(tmp_path.iterdir()) == [source]
