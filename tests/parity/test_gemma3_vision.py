"""Gemma 3's eyes against Transformers, float32, random weights: tower, soft tokens, and logits of text with images."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bezel.generation.cache import Cache
from bezel.generation.loop import all_logits, generate
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.interface import Batch, SoftSpan, TextModel
from bezel.models.registry import build
from bezel.models.vision.gemma3 import Gemma3Vision
from bezel.testing import ArrayWeights, instruction_sets
from bezel.weights.names import from_hugging_face
from bezel.weights.tower_names import vision_from_hugging_face

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
def test_a_tower_of_any_format_sees_about_the_same(oracle: Any, kernels: Kernels, format: Format, share: float) -> None:
    found, exact = vision_of(oracle, kernels, format)(picture(2)), vision_of(oracle, kernels)(picture(2))
    assert_close(found, exact, share)
    assert np.abs(found - exact).max() > 1e-5 * np.abs(exact).max()


def text_of(oracle: Any, kernels: Kernels) -> TextModel:
    state = {name: tensor.numpy() for name, tensor in oracle.state_dict().items()}
    tensors = {name: state[stored] for name, stored in from_hugging_face(state).items() if "vision" not in name}
    tensors = {name: array + 1 if array.ndim == 1 else array for name, array in tensors.items()}
    model = build(oracle.config.to_dict(), ArrayWeights(tensors, kernels))
    model.cache_spec = replace(model.cache_spec, format=Format.F32)
    return model


def interleaved(vision: Gemma3Vision, seed: int, *parts: int) -> tuple[list[int], list[SoftSpan], list[np.ndarray]]:
    """Tokens, spans and pictures: a part is so many words, or 0 for an image between its begin and end tokens."""
    rng = np.random.default_rng(seed)
    tokens: list[int] = []
    spans, pictures = [], []
    for part in parts:
        if part:
            tokens += rng.integers(0, 90, part).tolist()
            continue
        pictures.append(picture(seed + len(pictures)))
        soft = vision(pictures[-1])
        spans.append(SoftSpan(len(tokens) + 1, TOKENS, bytes([len(spans)]), lambda soft=soft: soft))
        tokens += [92, *[IMAGE] * TOKENS, 93]
    return tokens, spans, pictures


def expected_logits(oracle: Any, tokens: list[int], pictures: list[np.ndarray]) -> np.ndarray:
    ids = torch.tensor([tokens])
    seen = {"pixel_values": as_torch(*pictures), "token_type_ids": (ids == IMAGE).long()} if pictures else {}
    with torch.no_grad():
        return oracle(ids, **seen).logits[0].numpy()


ORDERS = [(3, 0, 4, 0, 5), (0, 2), (1, 0, 0, 7), (12, 0, 9), (0, 0, 1, 0, 3)]
ORDERS += [(*random.Random(seed).choices((0, 0, 1, 2, 11), k=5), 1) for seed in range(4)]


@EVERY_KERNEL
@pytest.mark.parametrize("parts", ORDERS, ids=str)
def test_logits_of_text_and_images_in_any_order(oracle: Any, kernels: Kernels, parts: tuple[int, ...]) -> None:
    tokens, spans, pictures = interleaved(vision_of(oracle, kernels), 7, *parts)
    found = all_logits(text_of(oracle, kernels), tokens, spans)
    expected = expected_logits(oracle, tokens, pictures)
    assert_close(found, expected, 1e-3)
    causal = replace_spans(spans, length=1)
    assert not spans or np.abs(all_logits(text_of(oracle, kernels), tokens, causal) - expected).max() > 0.05


def replace_spans(spans: list[SoftSpan], length: int) -> list[SoftSpan]:
    """The same soft tokens in shorter spans, which do not see each other."""
    return [
        SoftSpan(span.start + i, length, b"", lambda span=span, i=i: span.embed()[i : i + length])
        for span in spans
        for i in range(0, span.length, length)
    ]


@EVERY_KERNEL
def test_chunks_and_neighbours_change_no_bit(oracle: Any, kernels: Kernels) -> None:
    vision, model = vision_of(oracle, kernels), text_of(oracle, kernels)
    first, spans, _ = interleaved(vision, 8, 5, 0, 6, 0, 3)
    second, others, _ = interleaved(vision, 9, 0, 2)
    cache = Cache(model.cache_spec, 128, sequences=2)
    cache.begin(0)
    cache.begin(1)
    rows = []
    for start, end in ((0, 4), (4, 24), (24, 47), (47, len(first))):
        parts, views, soft = [(first[start:end], start, True)], [(0, start, end - start)], [spans]
        if start == 24:
            parts.append((second, 0, True))
            views.append((1, 0, len(second)))
            soft.append(others)
        logits = model.forward(Batch.of(parts, soft), cache.view(views))
        rows.append(logits[: end - start])
        if start == 24:
            np.testing.assert_array_equal(logits[end - start :], all_logits(model, second, others))
    np.testing.assert_array_equal(np.concatenate(rows), all_logits(model, first, spans))


@EVERY_KERNEL
def test_greedy_answers_behind_an_image_agree(oracle: Any, kernels: Kernels) -> None:
    tokens, spans, pictures = interleaved(vision_of(oracle, kernels), 10, 4, 0, 5)
    steps = generate(text_of(oracle, kernels), tokens, Sampling(temperature=0.0), max_tokens=24, spans=spans)
    expected = list(tokens)
    for _ in range(24):
        expected.append(int(expected_logits(oracle, expected, pictures)[-1].argmax()))
        assert expected[-1] != IMAGE
    assert [step.token_id for step in steps] == expected[len(tokens) :]
