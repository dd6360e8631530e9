"""The renaming table and the config that GGUF metadata describe."""

import pytest

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.weights.configs import config_from_gguf
from bezel.weights.names import from_gguf, from_hugging_face, part_of, to_gguf

METADATA = {
    "general.architecture": "gemma3",
    "gemma3.attention.head_count": 4,
    "gemma3.attention.head_count_kv": 1,
    "gemma3.attention.key_length": 256,
    "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
    "gemma3.attention.sliding_window": 512,
    "gemma3.block_count": 26,
    "gemma3.context_length": 32768,
    "gemma3.embedding_length": 1152,
    "gemma3.feed_forward_length": 6912,
    "gemma3.rope.freq_base": 1000000.0,
}


@pytest.mark.parametrize("architecture", ["gemma", "gemma2", "gemma3", "gemma3n"])
def test_the_table_reads_what_it_writes(architecture: str) -> None:
    canonical = [
        "embed_tokens.weight",
        "norm.weight",
        "layers.3.input_layernorm.weight",
        "layers.3.post_attention_layernorm.weight",
        "layers.12.self_attn.q_proj.weight",
        "layers.12.mlp.down_proj.weight",
    ]
    if architecture != "gemma":
        canonical += ["layers.0.pre_feedforward_layernorm.weight", "layers.0.post_feedforward_layernorm.weight"]
    if architecture == "gemma3n":
        canonical += [
            "embed_tokens_per_layer.weight",
            "layers.4.laurel.linear_left.weight",
            "layers.4.altup.correct_output_scale",
            "layers.4.altup.correction_coefs.weight",
            "layers.4.per_layer_projection.weight",
        ]
    stored = [to_gguf(architecture, name) for name in canonical]
    assert len(set(stored)) == len(stored)
    assert from_gguf(architecture, stored) == dict(zip(canonical, stored, strict=True))


def test_gemma1_calls_its_second_norm_ffn_norm() -> None:
    assert to_gguf("gemma", "layers.0.post_attention_layernorm.weight") == "blk.0.ffn_norm.weight"
    assert to_gguf("gemma2", "layers.0.post_attention_layernorm.weight") == "blk.0.post_attention_norm.weight"


@pytest.mark.parametrize("prefix", ["model.", "language_model.model.", "model.language_model."])
def test_the_text_part_is_found_under_every_prefix(prefix: str) -> None:
    stored = [f"{prefix}embed_tokens.weight", "vision_tower.x", "lm_head.weight"]
    assert from_hugging_face(stored) == {
        "embed_tokens.weight": f"{prefix}embed_tokens.weight",
        "lm_head.weight": "lm_head.weight",
    }


def test_gemma3_metadata_become_a_text_config() -> None:
    config = config_from_gguf(METADATA, "m.gguf")
    assert config["model_type"] == "gemma3_text"
    assert config["query_pre_attn_scalar"] == 256
    assert config["rope_local_base_freq"] == 10000.0
    assert [i for i, kind in enumerate(config["layer_types"]) if kind == "full_attention"] == [5, 11, 17, 23]


def test_flags_say_layer_by_layer_what_slides() -> None:
    metadata = METADATA | {
        "gemma3.block_count": 3,
        "gemma3.attention.sliding_window_pattern": [True, False, True],
    }
    kinds = config_from_gguf(metadata, "m.gguf")["layer_types"]
    assert kinds == ["sliding_attention", "full_attention", "sliding_attention"]


@pytest.mark.parametrize("pattern", [0, -1, True, [True], "6", [1] * 26])
def test_patterns_that_do_not_fit_are_refused(pattern: object) -> None:
    with pytest.raises(ModelFileError, match="sliding_window_pattern"):
        config_from_gguf(METADATA | {"gemma3.attention.sliding_window_pattern": pattern}, "m.gguf")


def test_the_27b_scales_queries_by_its_width() -> None:
    metadata = METADATA | {
        "gemma3.block_count": 62,
        "gemma3.embedding_length": 5376,
        "gemma3.attention.head_count": 32,
        "gemma3.attention.key_length": 128,
    }
    assert config_from_gguf(metadata, "m.gguf")["query_pre_attn_scalar"] == 168


@pytest.mark.parametrize("key", sorted(METADATA.keys() - {"general.architecture", "gemma3.rope.freq_base"}))
@pytest.mark.parametrize("value", ["text", None, True, [1]])
def test_wrong_metadata_name_file_and_field(key: str, value: object) -> None:
    with pytest.raises(ModelFileError, match=rf"m\.gguf.*{key}"):
        config_from_gguf(METADATA | {key: value}, "m.gguf")


@pytest.mark.parametrize("architecture", ["llama", None, 3, ["gemma3"]])
def test_foreign_architectures_are_refused_by_name(architecture: object) -> None:
    with pytest.raises(UnsupportedModelError, match="supported: gemma, gemma2, gemma3"):
        config_from_gguf(METADATA | {"general.architecture": architecture}, "m.gguf")


def test_one_tensor_of_gemma3n_stacks_the_projections_of_its_streams() -> None:
    stored = [to_gguf("gemma3n", f"altup_projections.{i}.weight") for i in range(2)]
    assert stored == ["altup_proj.weight"] * 2
    assert from_gguf("gemma3n", stored[:1], 3) == {
        "altup_projections.0.weight": "altup_proj.weight",
        "altup_projections.1.weight": "altup_proj.weight",
    }
    assert part_of("altup_unembed_projections.2.weight") == 2 and part_of("layers.0.mlp.up_proj.weight") is None
