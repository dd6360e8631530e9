"""Gemma 3's eyes against Transformers, float32, random weights: tower, soft tokens, and logits of text with images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bezel.kernels.interface import Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.vision.gemma3 import Gemma3Vision
from bezel.testing import ArrayWeights, instruction_sets
from bezel.weights.names import vision_from_hugging_face

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS, SIDE, IMAGE = 16, 32, 94
TEXT = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "query_pre_attn_scalar": 20,
    "sliding_window": 10,  # shorter than an image's soft tokens
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "max_position_embeddings": 128,
}
VISION = {
    "hidden_size": 64,
    "intermediate_size": 80,  # no whole groups of 32
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 4,
    "layer_norm_eps": 1e-4,
    "vision_use_head": False,
}
KERNELS: dict[str, Kernels] = {"reference": Reference()} | {isa: Native(2, isa) for isa in instruction_sets()}
EVERY_KERNEL = pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)


@pytest.fixture(scope="module")
def oracle() -> Any:
    torch.manual_seed(5)
    config = transformers.Gemma3Config(
        text_config=TEXT,
        vision_config=VISION,
        mm_tokens_per_image=TOKENS,
        image_token_index=IMAGE,
        boi_token_index=92,
        eoi_token_index=93,
        attn_implementation="eager",
    )
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


def vision_of(oracle: Any, kernels: Kernels, format: Format = Format.F32) -> Gemma3Vision:
    state = {name: tensor.numpy() for name, tensor in oracle.state_dict().items()}
    tensors = {name: state[stored] for name, stored in vision_from_hugging_face(state).items()}
    norm = "multi_modal_projector.mm_soft_emb_norm.weight"
    tensors[norm] = tensors[norm] + 1
    return Gemma3Vision(oracle.config.to_dict(), ArrayWeights(tensors, kernels, format))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (SIDE, SIDE, 3)).astype(np.float32)


def as_torch(*pictures: np.ndarray) -> Any:
    return torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2)


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * (expected.max() - expected.min())


@EVERY_KERNEL
def test_patches_and_soft_tokens_are_the_oracles(oracle: Any, kernels: Kernels) -> None:
    vision = vision_of(oracle, kernels)
    with torch.no_grad():
        seen = oracle.get_image_features(as_torch(picture(1)), return_dict=True)
    assert_close(vision.vision_tower(picture(1)), seen.last_hidden_state[0].numpy())
    assert_close(vision(picture(1)), seen.pooler_output[0].numpy())


@EVERY_KERNEL
@pytest.mark.parametrize(
    ("format", "share"),
    [(Format.BF16, 0.02), (Format.F16, 2e-3), (Format.Q8_0, 0.03), (Format.Q4_0, 0.35)],
    ids=lambda value: value.name if isinstance(value, Format) else "",
)
def test_a_tower_of_any_format_sees_about_the_same(
    oracle: Any, kernels: Kernels, format: Format, share: float
) -> None:
    found, exact = vision_of(oracle, kernels, format)(picture(2)), vision_of(oracle, kernels)(picture(2))
    assert_close(found, exact, share)
    assert np.abs(found - exact).max() > 1e-5 * np.abs(exact).max()
