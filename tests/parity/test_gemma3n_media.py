"""Logits of Gemma 3n for text, images and sounds in any order against Transformers, float32, random weights."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from bezel.generation.loop import all_logits, generate
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.interface import SoftSpan
from bezel.models.registry import build
from bezel.models.vision.gemma3n import Gemma3nVision
from bezel.testing import ArrayWeights, instruction_sets
from bezel.weights.names import from_hugging_face
from bezel.weights.tower_names import gemma3n_vision_from_hugging_face

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
oracles = import_module("tests.parity.timm_without_torchvision")  # skips without timm
sounds = import_module("tests.parity.test_gemma3n_sounds")

SIDE, TOKENS, IMAGE, BEGIN, END = 64, 16, 97, 81, 98  # the end is above the text's ids, as in published models
KERNELS: dict[str, Kernels] = {"reference": Reference()} | {isa: Native(2, isa) for isa in instruction_sets()}
EVERY_KERNEL = pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)
Part = int | str


def config_of() -> dict[str, Any]:
    return {
        "text_config": sounds.TEXT | {"max_position_embeddings": 256},
        "audio_config": sounds.AUDIO,
        "vision_config": {"vocab_size": 8, "vocab_offset": 96, "model_args": oracles.model_args()},
        "audio_soft_tokens_per_image": sounds.TOKENS, "vision_soft_tokens_per_image": TOKENS,
        "boi_token_id": BEGIN, "eoi_token_id": END, "image_token_id": IMAGE,
        "boa_token_id": sounds.BEGIN, "eoa_token_id": sounds.END, "audio_token_id": sounds.SOUND,
    }  # fmt: skip


@pytest.fixture(scope="module")
def oracle() -> Any:
    torch.manual_seed(9)
    with pytest.MonkeyPatch.context() as patch:
        oracles.seeing(patch)
        config = transformers.Gemma3nConfig(**config_of(), attn_implementation="eager")
        model = transformers.Gemma3nForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, parameter[0].numel() ** -0.5 if parameter.dim() == 4 and "vision" in name else 0.3)
        model.lm_head.weight[96:] *= 0.05  # so that no answer holds ids above the text's
    return model


class Ours:
    """bezel's text model and both towers with the oracle's weights."""

    def __init__(self, oracle: Any, kernels: Kernels) -> None:
        state = {name: tensor.numpy() for name, tensor in oracle.state_dict().items()}
        text = {name: state[stored] for name, stored in from_hugging_face(state).items()}
        seen = {name: state[stored] for name, stored in gemma3n_vision_from_hugging_face(state).items()}
        self.text = build(config_of() | {"model_type": "gemma3n"}, ArrayWeights(text, kernels))
        self.text.cache_spec = replace(self.text.cache_spec, format=Format.F32)
        self.vision = Gemma3nVision(config_of(), ArrayWeights(seen, kernels))
        self.audio = sounds.ours_of(oracle, kernels)[1]

    def interleaved(self, seed: int, *parts: Part) -> tuple[list[int], list[SoftSpan], list[Any], list[Any]]:
        """Tokens, spans, pictures and sounds: a part is so many words, "image" or "sound", each between its ends."""
        rng = np.random.default_rng(seed)
        tokens: list[int] = []
        spans, pictures, heard = [], [], []
        for part in parts:
            if isinstance(part, int):
                tokens += rng.integers(0, 80, part).tolist()
                continue
            if part == "image":
                pictures.append(rng.uniform(0, 1, (SIDE, SIDE, 3)).astype(np.float32))
                soft, ids = self.vision.span(pictures[-1]), [BEGIN, *[IMAGE] * TOKENS, END]
            else:
                heard.append(sounds.sound(seed + len(heard), 70))
                soft, ids = self.audio.span(heard[-1]), [sounds.BEGIN, *[sounds.SOUND] * sounds.TOKENS, sounds.END]
            key = bytes([len(spans)])
            spans.append(SoftSpan(len(tokens) + 1, len(soft), key, partial(np.asarray, soft), causal=True))
            tokens += ids
        return tokens, spans, pictures, heard


def expected_logits(oracle: Any, tokens: list[int], pictures: list[Any], heard: list[Any]) -> np.ndarray:
    given: dict[str, Any] = {}
    if pictures:
        given["pixel_values"] = torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2)
    if heard:
        given["input_features"] = torch.tensor(np.stack(heard))
        given["input_features_mask"] = torch.ones(given["input_features"].shape[:2], dtype=bool)
    with torch.no_grad():
        return oracle(torch.tensor([tokens]), **given).logits[0].numpy()


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-3) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * (expected.max() - expected.min())


ORDERS: list[tuple[Part, ...]] = [("image", 3), (4, "image", 6), ("image", "sound", 1), (2, "sound", "image", 5)]
ORDERS += [tuple(random.Random(seed).sample(("image", "sound", "image", "sound", 2, 7), 6)) for seed in range(4)]


@EVERY_KERNEL
@pytest.mark.parametrize("parts", ORDERS, ids=str)
def test_logits_of_text_images_and_sounds_in_any_order(oracle: Any, kernels: Kernels, parts: tuple[Part, ...]) -> None:
    ours = Ours(oracle, kernels)
    tokens, spans, pictures, heard = ours.interleaved(11, *parts)
    expected = expected_logits(oracle, tokens, pictures, heard)
    assert_close(all_logits(ours.text, tokens, spans), expected)
    both_ways = [replace(span, causal=False) for span in spans]
    assert np.abs(all_logits(ours.text, tokens, both_ways) - expected).max() > 0.05
    assert np.abs(all_logits(ours.text, tokens, spans[1:]) - expected).max() > 0.05


@EVERY_KERNEL
def test_greedy_answers_behind_an_image_and_a_sound_agree(oracle: Any, kernels: Kernels) -> None:
    ours = Ours(oracle, kernels)
    tokens, spans, pictures, heard = ours.interleaved(12, 4, "image", 2, "sound", 5)
    steps = generate(ours.text, tokens, Sampling(temperature=0.0), max_tokens=16, spans=spans)
    expected = list(tokens)
    for _ in range(16):
        expected.append(int(expected_logits(oracle, expected, pictures, heard)[-1].argmax()))
        assert expected[-1] < 96
    assert [step.token_id for step in steps] == expected[len(tokens) :]
