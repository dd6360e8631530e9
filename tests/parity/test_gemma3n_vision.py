"""Gemma 3n's eyes against Transformers and timm, float32, random weights: tower, soft tokens, what ends an image."""

from __future__ import annotations

import random
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from bezel.kernels.interface import Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.vision import mobilenetv5
from bezel.models.vision.gemma3n import Gemma3nVision
from bezel.models.vision.mobilenetv5_layout import Layout
from bezel.testing import ArrayWeights, instruction_sets
from bezel.weights.tower_names import gemma3n_vision_from_hugging_face

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
modeling = pytest.importorskip("transformers.models.gemma3n.modeling_gemma3n")
oracles = import_module("tests.parity.timm_without_torchvision")  # skips without timm

SIDE, TOKENS, HIDDEN, OFFSET = 128, 16, 48, 96
KERNELS: dict[str, Kernels] = {"reference": Reference()} | {isa: Native(2, isa) for isa in instruction_sets()}
EVERY_KERNEL = pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)


def config_of() -> dict[str, Any]:
    return {
        "vision_config": {
            "architecture": "mobilenetv5_300m_enc", "model_args": oracles.model_args(), "vocab_size": 8,
            "vocab_offset": OFFSET, "rms_norm_eps": 0.3,
        },
        "text_config": {"hidden_size": HIDDEN}, "vision_soft_tokens_per_image": TOKENS, "eoi_token_id": 97,
    }  # fmt: skip


class Oracle(torch.nn.Module):
    """The two parts of Transformers' model that see, put together as it does."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.Gemma3nVisionConfig(**config_of()["vision_config"])
        with pytest.MonkeyPatch.context() as patch:
            oracles.seeing(patch)
            self.vision_tower = transformers.AutoModel.from_config(config)
        self.embed_vision = modeling.Gemma3nMultimodalEmbedder(config, transformers.Gemma3nTextConfig(hidden_size=48))
        liven(self)
        self.config = transformers.Gemma3nConfig(vision_config=config, vision_soft_tokens_per_image=TOKENS)

    def see(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the tower and soft tokens."""
        image = torch.tensor(pixels).permute(2, 0, 1)[None]
        with torch.no_grad():
            rows = self.vision_tower(pixel_values=image, do_pooling=False, return_dict=True).last_hidden_state
            soft = modeling.Gemma3nModel.get_image_features(self, image, return_dict=True).pooler_output
        return rows[0].flatten(1).T.numpy(), soft[0].numpy()


def liven(model: Any) -> None:
    """Weights with which every part of a tower counts: those of a layer scale are 1e-5 when timm makes them."""
    torch.manual_seed(8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, (parameter[0].numel()) ** -0.5)
            else:
                parameter.normal_(0.7 if name.endswith("weight") and parameter.dim() == 1 else 0, 0.4)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle().eval()


def vision_of(oracle: Oracle, kernels: Kernels, format: Format = Format.F32) -> Gemma3nVision:
    state = {f"model.{name}": tensor.numpy() for name, tensor in oracle.state_dict().items()}
    tensors = {name: state[stored] for name, stored in gemma3n_vision_from_hugging_face(state).items()}
    assert len(tensors) == len(state)
    return Gemma3nVision(config_of(), ArrayWeights(tensors, kernels, format))


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (side, side, 3)).astype(np.float32)


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * (expected.max() - expected.min())


# Places a side before the last fusion: as many as come out, and two and three times those.
@EVERY_KERNEL
@pytest.mark.parametrize("side", [64, 128, 192, 61])
def test_rows_and_soft_tokens_are_the_oracles(oracle: Oracle, kernels: Kernels, side: int) -> None:
    vision, pixels = vision_of(oracle, kernels), picture(side, side)
    rows, soft = oracle.see(pixels)
    assert_close(vision.vision_tower(pixels), rows)
    assert_close(vision(pixels), soft)


@EVERY_KERNEL
@pytest.mark.parametrize("elements", [1, 3000, 40_000])
def test_bands_change_no_bit(oracle: Oracle, kernels: Kernels, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vision, pixels = vision_of(oracle, kernels), picture(1, 64)
    whole = vision(pixels)
    monkeypatch.setattr(mobilenetv5, "BAND", elements)
    np.testing.assert_array_equal(vision(pixels), whole)


def test_every_mechanism_is_alive_in_these_tests(oracle: Oracle) -> None:
    pixels = picture(2, 64)
    expected = oracle.see(pixels)[1]
    tower = oracle.vision_tower.timm_model
    parts = {
        "start": tower.blocks[1][1].dw_start.conv.weight,
        "middle": tower.blocks[2][3].dw_mid.conv.weight,
        "keys": tower.blocks[2][2].attn.key.down_conv.weight,
        "key norm": tower.blocks[2][2].attn.key.norm.weight,
        "values": tower.blocks[3][1].attn.value.proj.weight,
        "scale of a residual": tower.blocks[3][2].layer_scale.gamma,
        "scale of attention": tower.blocks[2][2].layer_scale.gamma,
        "edge": tower.blocks[0][1].conv_exp.weight,
        "stem": tower.conv_stem.conv.bias,
        "stem's norm": tower.conv_stem.bn.weight,
        "finer scale": tower.msfa.ffn.pw_exp.conv.weight[:, :64],
        "coarser scale": tower.msfa.ffn.pw_exp.conv.weight[:, 64:],
        "last norm": tower.msfa.norm.weight,
    }
    for name, parameter in parts.items():
        with torch.no_grad():
            kept = parameter.clone()
            parameter *= random.Random(name).uniform(1.5, 2.5) * torch.linspace(0.5, 1.5, len(parameter)).reshape(
                -1, *[1] * (parameter.dim() - 1)
            )
            changed = oracle.see(pixels)[1]
            parameter.copy_(kept)
        assert np.abs(changed - expected).max() > 2e-3 * np.ptp(expected), name


@EVERY_KERNEL
def test_ids_above_the_texts_have_embeddings_of_their_own_and_end_an_image(oracle: Oracle, kernels: Kernels) -> None:
    vision, pixels = vision_of(oracle, kernels), picture(3, 64)
    with torch.no_grad():
        hard = oracle.embed_vision(input_ids=torch.arange(OFFSET, OFFSET + 8)[None])[0].numpy()
    assert_close(vision.embed_vision.hard, hard)
    span = vision.span(pixels)
    np.testing.assert_array_equal(span[:-1], vision(pixels))
    np.testing.assert_array_equal(span[-1], vision.embed_vision.hard[1])


@EVERY_KERNEL
@pytest.mark.parametrize(
    ("format", "share"),
    [(Format.BF16, 0.05), (Format.F16, 5e-3), (Format.Q8_0, 0.08), (Format.Q4_0, 0.5)],
    ids=lambda value: value.name if isinstance(value, Format) else "",
)
def test_a_tower_of_any_format_sees_about_the_same(
    oracle: Oracle, kernels: Kernels, format: Format, share: float
) -> None:
    pixels = picture(4, 64)
    found, exact = vision_of(oracle, kernels, format)(pixels), vision_of(oracle, kernels)(pixels)
    assert_close(found, exact, share)
    assert np.abs(found - exact).max() > 1e-5 * np.abs(exact).max()


def test_the_published_layout_is_timms_own() -> None:
    with torch.device("meta"):
        theirs = oracles.timm.create_model("mobilenetv5_300m_enc", num_classes=0)
    shapes = {name: tuple(parameter.shape) for name, parameter in theirs.named_parameters()}
    asked = Shapes()
    mobilenetv5.MobileNetV5(Layout.from_hf({}), asked, "")
    assert {name: int(np.prod(shape)) for name, shape in shapes.items()} == asked.sizes
    assert theirs.msfa.output_resolution == (Layout().side,) * 2


class Shapes:
    """`Weights` that notes what it is asked for."""

    def __init__(self) -> None:
        self.kernels, self.sizes = Reference(), dict[str, int]()

    def matrix(self, name: str, shape: tuple[int, int], padded: bool = False) -> None:
        self.sizes[name] = 64 * 27 if padded else shape[0] * shape[1]

    def array(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        self.sizes[name] = shape[0] * shape[1]
        return np.zeros(shape, np.float32)

    def vector(self, name: str, size: int) -> np.ndarray:
        self.sizes[name] = size
        return np.zeros(size, np.float32)

    norm = vector

    def in_turn(self, builders: Any) -> Any:
        return [build() for build in builders]
