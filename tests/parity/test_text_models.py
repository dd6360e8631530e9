"""Gemma 1, 2, 3 and 3n against Transformers, float32, random weights, every feature alive at a tiny shape."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.generation.cache import Cache
from bezel.generation.loop import all_logits, generate, perplexity, token_logprobs
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import CACHE_FORMATS, Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.interface import Batch, TextModel
from bezel.models.registry import build
from bezel.testing import ArrayWeights, instruction_sets
from bezel.weights.names import NORMS_ARE_WHOLE, from_hugging_face

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 128,
    "attn_implementation": "eager",
}
GEMMA2 = {
    "query_pre_attn_scalar": 20,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "attn_logit_softcapping": 1.5,
    "final_logit_softcapping": 3.0,
}
GEMMA3 = {key: GEMMA2[key] for key in ("query_pre_attn_scalar", "sliding_window", "layer_types")}
GEMMA3N = {
    "num_hidden_layers": 6,
    "intermediate_size": [96, 64, 96, 128, 32, 96],
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
    "num_kv_shared_layers": 2,
    "activation_sparsity_pattern": [0.9, 0.8, 0.0, 0.5, 0.7, 0.0],
    "vocab_size_per_layer_input": 90,
    "hidden_size_per_layer_input": 32,
    "laurel_rank": 32,
    "final_logit_softcapping": 3.0,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma": ("Gemma", {}),
    "gemma, one KV head": ("Gemma", {"num_key_value_heads": 1}),
    "gemma2": ("Gemma2", GEMMA2),
    "gemma3": ("Gemma3", GEMMA3),
    "gemma3, scaled rope, soft cap, untied": (
        "Gemma3",
        GEMMA3
        | {
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
                "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 8.0},
            },
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": False,
        },
    ),
    "gemma3n": ("Gemma3n", GEMMA3N),
    "gemma3n, nothing shared, nothing sparse": (
        "Gemma3n",
        GEMMA3N | {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0] * 6, "intermediate_size": 96},
    ),
    "gemma3n, three streams, the second active and unscaled, one KV head, other ropes, untied": (
        "Gemma3n",
        GEMMA3N
        | {
            "altup_num_inputs": 3,
            "altup_active_idx": 1,
            "altup_correct_scale": False,
            "num_key_value_heads": 1,
            "num_kv_shared_layers": 3,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
                "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
            },
        },
    ),
}


KERNELS: dict[str, Kernels] = {"reference": Reference()} | {isa: Native(2, isa) for isa in instruction_sets()}
EVERY_KERNEL = pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)


def oracle_of(variant: str = "gemma3", bf16: bool = False) -> Any:
    torch.manual_seed(3)
    family, changes = VARIANTS[variant]
    config_class = getattr(transformers, f"{family}TextConfig" if family.startswith("Gemma3") else f"{family}Config")
    model = getattr(transformers, f"{family}ForCausalLM")(config_class(**SHAPE | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
            if bf16:
                parameter.copy_(parameter.bfloat16().float())
    return model


def ours_of(
    oracle: Any,
    format: Format = Format.F32,
    kernels: Kernels = KERNELS["reference"],
    cache: Format = Format.F32,
) -> TextModel:
    state = {name: tensor.numpy() for name, tensor in oracle.state_dict().items()}
    tensors = {name: state[stored] for name, stored in from_hugging_face(state).items()}
    if oracle.config.model_type not in NORMS_ARE_WHOLE:
        tensors = {name: array + 1 if array.ndim == 1 else array for name, array in tensors.items()}
    model = build(oracle.config.to_dict(), ArrayWeights(tensors, kernels, format))
    model.cache_spec = replace(model.cache_spec, format=cache)
    return model


def prompt(seed: int, length: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, 96, length)]


def expected_logits(oracle: Any, tokens: list[int]) -> np.ndarray:
    with torch.no_grad():
        return oracle(torch.tensor([tokens])).logits[0].numpy()


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-3) -> None:
    assert np.abs(found - expected).max() <= share * (expected.max() - expected.min())


def share_for(variant: str, cache: Format) -> float:
    """The share of the logits' range by which a cache's rounding may move them.

    Gemma 1 neither norms its keys nor caps its scores; with these weights they reach tens, and soft-max multiplies
    what rounding does to them.
    """
    unbounded = variant.split(",")[0] == "gemma"
    return {Format.F32: 1e-3, Format.F16: 5e-3 if unbounded else 1e-3, Format.Q8_0: 0.15 if unbounded else 3e-2}[cache]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bf16", [False, True])
@EVERY_KERNEL
def test_logits_beyond_the_window(variant: str, bf16: bool, kernels: Kernels) -> None:
    oracle, tokens = oracle_of(variant, bf16), prompt(1, 40)
    model = ours_of(oracle, Format.BF16 if bf16 else Format.F32, kernels)
    assert_close(all_logits(model, tokens), expected_logits(oracle, tokens))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cache", [Format.F16, Format.Q8_0])
@EVERY_KERNEL
def test_logits_over_a_rounded_cache(variant: str, cache: Format, kernels: Kernels) -> None:
    oracle, tokens = oracle_of(variant), prompt(1, 40)
    expected = expected_logits(oracle, tokens)
    found = all_logits(ours_of(oracle, kernels=kernels, cache=cache), tokens)
    assert_close(found, expected, share_for(variant, cache))
    assert np.abs(found - expected).max() > 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("variant", VARIANTS)
@EVERY_KERNEL
def test_greedy_tokens_agree_for_64_steps(variant: str, kernels: Kernels) -> None:
    oracle, tokens = oracle_of(variant), prompt(2, 11)
    steps = generate(ours_of(oracle, kernels=kernels), tokens, Sampling(temperature=0.0), max_tokens=64)
    expected = list(tokens)
    for _ in range(64):
        expected.append(int(expected_logits(oracle, expected)[-1].argmax()))
    assert [step.token_id for step in steps] == expected[11:]


@pytest.mark.parametrize("variant", VARIANTS)
@EVERY_KERNEL
@pytest.mark.parametrize("format", CACHE_FORMATS)
def test_ragged_batches_and_chunks_change_no_bit(variant: str, format: Format, kernels: Kernels) -> None:
    oracle = oracle_of(variant)
    model = ours_of(oracle, kernels=kernels, cache=format)
    first, second = prompt(3, 45), prompt(4, 9)
    cache = Cache(model.cache_spec, 64, sequences=2)
    cache.begin(0)
    cache.begin(1)
    rows = []
    for start, stop in ((0, 33), (33, 34), (34, 45)):
        parts, views = [(first[start:stop], start, True)], [(0, start, stop - start)]
        if start == 33:
            parts.append((second, 0, True))
            views.append((1, 0, len(second)))
        logits = model.forward(Batch.of(parts), cache.view(views))
        rows.append(logits[: stop - start])
        if start == 33:
            np.testing.assert_array_equal(logits[1:], all_logits(model, second))
    np.testing.assert_array_equal(np.concatenate(rows), all_logits(model, first))
    assert_close(np.concatenate(rows), expected_logits(oracle, first), share_for(variant, format))


def test_logprobs_and_perplexity_are_the_oracles() -> None:
    oracle, tokens = oracle_of(), prompt(5, 30)
    expected = torch.log_softmax(torch.tensor(expected_logits(oracle, tokens)).double(), -1).numpy()
    picked = expected[np.arange(29), tokens[1:]]
    found = token_logprobs(ours_of(oracle), tokens)
    np.testing.assert_allclose(found, picked, atol=2e-3)
    assert perplexity(ours_of(oracle), tokens) == pytest.approx(np.exp(-picked.mean()), rel=2e-3)


@pytest.mark.parametrize(("name", "value"), [("hidden_size", 0), ("sliding_window", None), ("head_dim", "x")])
def test_a_wrong_config_names_its_field(name: str, value: object) -> None:
    config = oracle_of().config.to_dict() | {name: value}
    with pytest.raises(ModelFileError, match=name):
        build(config, ArrayWeights({}, Reference()))


def test_tensors_that_contradict_the_config_are_named() -> None:
    oracle = oracle_of()
    oracle.config.intermediate_size = 64
    with pytest.raises(ModelFileError, match=r"mlp\.gate_proj"):
        ours_of(oracle)


def test_a_foreign_model_type_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match="'llama' is not supported; supported: gemma"):
        build({"model_type": "llama"}, ArrayWeights({}, Reference()))
