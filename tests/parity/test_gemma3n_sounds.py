"""Logits of Gemma 3n for text with sounds against Transformers, float32, random weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from bezel.generation.cache import Cache
from bezel.generation.loop import all_logits, generate
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.audio.gemma3n import Gemma3nAudio
from bezel.models.interface import Batch, SoftSpan, TextModel
from bezel.models.registry import build
from bezel.testing import ArrayWeights, instruction_sets
from bezel.weights.names import from_hugging_face
from bezel.weights.tower_names import audio_from_hugging_face

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
modeling = pytest.importorskip("transformers.models.gemma3n.modeling_gemma3n")

BEGIN, END, SOUND, TOKENS = 80, 104, 105, 12  # the end is above the text's ids, as in published models
TEXT = {
    "vocab_size": 112,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_hidden_layers": 6,
    "intermediate_size": [96, 64, 96, 128, 32, 96],
    "max_position_embeddings": 128,
    "sliding_window": 6,  # shorter than a sound
    "layer_types": ["sliding_attention", "full_attention"] * 3,
    "num_kv_shared_layers": 2,
    "activation_sparsity_pattern": [0.9, 0.8, 0.0, 0.5, 0.7, 0.0],
    "vocab_size_per_layer_input": 96,
    "hidden_size_per_layer_input": 32,
    "laurel_rank": 32,
    "final_logit_softcapping": 3.0,
}
AUDIO = {
    "vocab_size": 8,
    "vocab_offset": 104,
    "input_feat_size": 16,
    "hidden_size": 32,
    "conf_num_attention_heads": 2,
    "conf_num_hidden_layers": 2,
    "sscp_conv_channel_size": (8, 4),
}
VISION = {"hidden_size": 32, "vocab_size": 8, "vocab_offset": 96}
KERNELS: dict[str, Kernels] = {"reference": Reference()} | {isa: Native(2, isa) for isa in instruction_sets()}
EVERY_KERNEL = pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)


class Blind:
    """Stands in for AutoModel: makes every tower but the one for images, which is another library's."""

    @staticmethod
    def from_config(config: Any) -> Any:
        return torch.nn.Identity() if "vision" in config.model_type else transformers.AutoModel.from_config(config)


@pytest.fixture(scope="module")
def oracle() -> Any:
    config = transformers.Gemma3nConfig(
        text_config=TEXT,
        audio_config=AUDIO,
        vision_config=VISION,
        audio_soft_tokens_per_image=TOKENS,
        boa_token_id=BEGIN,
        eoa_token_id=END,
        audio_token_id=SOUND,
        image_token_id=97,
        attn_implementation="eager",
    )
    torch.manual_seed(6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling, "AutoModel", Blind)
        model = transformers.Gemma3nForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
        model.lm_head.weight[96:] *= 0.05  # so that no answer holds ids above the text's
    return model


def ours_of(oracle: Any, kernels: Kernels) -> tuple[TextModel, Gemma3nAudio]:
    state = {name: tensor.numpy() for name, tensor in oracle.state_dict().items()}
    text = {name: state[stored] for name, stored in from_hugging_face(state).items()}
    audio = {name: state[stored] for name, stored in audio_from_hugging_face(state).items()}
    config = oracle.config.to_dict()
    model = build(config, ArrayWeights(text, kernels))
    model.cache_spec = replace(model.cache_spec, format=Format.F32)
    return model, Gemma3nAudio(config, ArrayWeights(audio, kernels))


def sound(seed: int, frames: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(-2, 3, (frames, 16)).astype(np.float32)


def interleaved(audio: Gemma3nAudio, seed: int, *parts: int | tuple[int]) -> tuple[Any, list[SoftSpan], list[Any]]:
    """Tokens, spans and sounds: a part is so many words, or (frames,) for a sound between its begin and end."""
    rng = np.random.default_rng(seed)
    tokens: list[int] = []
    spans, sounds = [], []
    for part in parts:
        if isinstance(part, int):
            tokens += rng.integers(0, 96, part).tolist()
            continue
        sounds.append(sound(seed + len(sounds), *part))
        soft = np.concatenate([audio.filled(sounds[-1]), audio.end])
        spans.append(SoftSpan(len(tokens) + 1, TOKENS + 1, bytes([len(spans)]), partial(np.asarray, soft), causal=True))
        tokens += [BEGIN, *[SOUND] * TOKENS, END]
    return tokens, spans, sounds


def expected_logits(oracle: Any, tokens: list[int], sounds: list[np.ndarray]) -> np.ndarray:
    """Every sound by itself, since in a batch of several Transformers' convolutions see what fills up the shorter."""
    model, ids = oracle.model, torch.tensor([tokens])
    with torch.no_grad():
        if len(sounds) < 2:
            features = torch.tensor(np.stack(sounds)) if sounds else None
            valid = torch.ones(features.shape[:2], dtype=bool) if sounds else None
            return oracle(ids, input_features=features, input_features_mask=valid).logits[0].numpy()
        heard = [
            model.get_audio_features(torch.tensor(each)[None], torch.zeros(1, len(each), dtype=bool), return_dict=True)
            for each in sounds
        ]
        filler = model.embed_audio(input_ids=torch.tensor([[TEXT["vocab_size"] - 1]]))
        filled = [
            torch.cat([h.pooler_output, filler.expand(1, TOKENS - len(h.pooler_output[0]), -1)], 1) for h in heard
        ]
        with pytest.MonkeyPatch.context() as patch:
            rows = type("Heard", (), {"pooler_output": torch.cat(filled)})
            rows.audio_mel_mask = torch.zeros(len(sounds), TOKENS, dtype=bool)
            patch.setattr(model, "get_audio_features", lambda *_, **__: rows)
            features, valid = torch.zeros(len(sounds), 1, 16), torch.ones(len(sounds), 1, dtype=bool)
            return oracle(ids, input_features=features, input_features_mask=valid).logits[0].numpy()


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-3) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * (expected.max() - expected.min())


ORDERS = [(5,), (4, (70,), 6), ((192,), 3), ((33,), (100,), 2), (2, (16,), 8, (190,), 1, (1,), 4)]


@EVERY_KERNEL
@pytest.mark.parametrize("parts", ORDERS, ids=str)
def test_logits_of_text_and_sounds_in_any_order(oracle: Any, kernels: Kernels, parts: tuple[Any, ...]) -> None:
    model, audio = ours_of(oracle, kernels)
    tokens, spans, sounds = interleaved(audio, 3, *parts)
    expected = expected_logits(oracle, tokens, sounds)
    assert_close(all_logits(model, tokens, spans), expected)
    if spans:
        both_ways = [replace(span, causal=False) for span in spans]
        assert np.abs(all_logits(model, tokens, both_ways) - expected).max() > 0.05
        assert np.abs(all_logits(model, tokens) - expected).max() > 0.05


@EVERY_KERNEL
def test_neighbours_and_what_ids_stand_under_a_sound_change_no_bit(oracle: Any, kernels: Kernels) -> None:
    model, audio = ours_of(oracle, kernels)
    first, spans, _ = interleaved(audio, 4, 5, (90,), 4)
    second, others, _ = interleaved(audio, 5, (20,), 2)
    alone = all_logits(model, first, spans)
    cache = Cache(model.cache_spec, 128, sequences=2)
    cache.begin(0)
    cache.begin(1)
    views = [(0, 0, len(first)), (1, 0, len(second))]
    together = model.forward(Batch.of([(first, 0, True), (second, 0, True)], [spans, others]), cache.view(views))
    np.testing.assert_array_equal(together, np.concatenate([alone, all_logits(model, second, others)]))
    span = spans[0]
    other_ids = [*first[: span.start], *range(span.length), *first[span.end :]]
    np.testing.assert_array_equal(all_logits(model, other_ids, spans), alone)


@EVERY_KERNEL
def test_greedy_answers_behind_a_sound_agree(oracle: Any, kernels: Kernels) -> None:
    model, audio = ours_of(oracle, kernels)
    tokens, spans, sounds = interleaved(audio, 6, 4, (150,), 5)
    steps = generate(model, tokens, Sampling(temperature=0.0), max_tokens=24, spans=spans)
    expected = list(tokens)
    for _ in range(24):
        expected.append(int(expected_logits(oracle, expected, sounds)[-1].argmax()))
        assert expected[-1] < 96
    assert [step.token_id for step in steps] == expected[len(tokens) :]
