"""MobileNetV5's layouts, sizes and memory; what it computes is compared in tests/parity/test_gemma3n_vision.py."""

from __future__ import annotations

import os
import tracemalloc
from typing import Any

import numpy as np
import pytest

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.kernels.interface import Format
from bezel.kernels.library import Native
from bezel.models.vision import gemma3n
from bezel.models.vision.mobilenetv5 import MobileNetV5, Window, check_side
from bezel.models.vision.mobilenetv5_layout import Attending, Edge, Inverted, Layout
from bezel.testing import instruction_sets

EDGE = {"block_type": "er", "out_chs": 16, "stride": 2, "exp_ratio": 4.0, "exp_kernel_size": 3}
UIR = {"block_type": "uir", "out_chs": 16, "stride": 1, "exp_ratio": 2, "dw_kernel_size_start": 0}
UIR |= {"dw_kernel_size_mid": 5, "dw_kernel_size_end": 0, "se_ratio": 0.0, "noskip": False, "act_layer": None}
MQA = {"block_type": "mqa", "out_chs": 16, "stride": 1, "num_heads": 2, "key_dim": 32, "value_dim": 32}
MQA |= {"kv_stride": 2, "dw_kernel_size": 3}


def read(*stages: Any, **more: Any) -> Layout:
    return Layout.from_hf({"model_args": {"block_args": list(stages), **more}})


def test_what_a_config_tells_timm_is_read() -> None:
    found = read([EDGE], [EDGE | {"stride": 2}, UIR, MQA], msfa_indices=[1, 2], msfa_output_resolution=4, stem_size=8)
    second = (Edge(16, stride=2), Inverted(16, 2, middle=5), Attending(16, 2, 32, reduction=2))
    assert found == Layout(8, ((Edge(16, stride=2),), second), fused=(0, 1), side=4)
    assert Layout.from_hf({"architecture": "mobilenetv5_300m_enc", "model_args": None}) == Layout()


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "mobilenetv5_base"},
        {"model_args": {"se_layer": "x"}},
        {"model_args": {"block_args": [[EDGE | {"block_type": "ir"}]]}},
        {"model_args": {"block_args": [[EDGE, UIR | {"se_ratio": 0.25}]]}},
        {"model_args": {"block_args": [[EDGE, UIR | {"dw_kernel_size_end": 3}]]}},
        {"model_args": {"block_args": [[EDGE, MQA | {"value_dim": 16}]]}},
        {"model_args": {"block_args": [[UIR]]}},
        {"model_args": {"block_args": [[EDGE], [EDGE, EDGE]]}},
    ],
    ids=str,
)
def test_what_timm_could_build_and_this_does_not_is_unsupported(config: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match="config: "):
        Layout.from_hf(config)


@pytest.mark.parametrize(
    "given",
    [
        {"block_args": []},
        {"block_args": [[EDGE], []]},
        {"block_args": [[EDGE | {"out_chs": 12}]]},
        {"block_args": [[EDGE | {"exp_ratio": 1.5}]]},
        {"block_args": [[EDGE | {"exp_kernel_size": 0}]]},
        {"block_args": [[EDGE | {"out_chs": "16"}]]},
        {"block_args": [[EDGE]]},  # one scale is no two
        {"msfa_indices": [4, 3]},
        {"msfa_indices": [0, 4]},
        {"msfa_indices": [5]},
        {"msfa_indices": 4},
        {"stem_size": 0},
        {"msfa_output_resolution": "16"},
    ],
    ids=str,
)
def test_a_wrong_layout_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="config: "):
        Layout.from_hf({"model_args": given})


@pytest.mark.parametrize("side", [256, 512, 768])
def test_published_sizes_are_pooled_to_256_soft_tokens(side: int) -> None:
    check_side(Layout(), side)
    with pytest.raises(ModelFileError, match="multiple of 256"):
        check_side(Layout(), side + 64)


def test_soft_tokens_are_the_square_of_the_towers_side() -> None:
    config = {"vision_config": {}, "text_config": {"hidden_size": 64}}
    assert gemma3n.Config.from_hf(config).tokens == 256
    for wrong in ({"vision_soft_tokens_per_image": 255}, {"vision_config": {"hidden_size": 1024}}):
        with pytest.raises(ModelFileError, match="no square"):
            gemma3n.Config.from_hf(config | wrong)


@pytest.mark.parametrize(
    ("size", "stride", "given", "count", "before"),
    [(3, 1, 7, 7, 1), (3, 2, 8, 4, 0), (3, 2, 7, 4, 1), (5, 2, 96, 48, 1), (5, 1, 3, 3, 2), (1, 1, 4, 4, 0)],
)
def test_same_padding_has_less_before_than_behind(size: int, stride: int, given: int, count: int, before: int) -> None:
    window = Window(size, stride)
    assert (window.count(given), window.before(given)) == (count, before)
    rows, above = window.reach(given, 0, count)
    assert (rows, above) == (slice(0, given), before)


class Blank:
    """The `Weights` of a tower that knows nothing, in 8 bits."""

    def __init__(self) -> None:
        self.kernels = Native()

    def matrix(self, *names: str, shape: tuple[int, int], padded: bool = False) -> Any:
        return self.kernels.allocate(Format.F16 if shape[1] % 32 else Format.Q8_0, *shape)

    def in_turn(self, builders: Any) -> Any:
        return (build() for build in builders)

    def vector(self, name: str, size: int) -> np.ndarray:
        return np.ones(size, np.float32)

    norm = vector

    def array(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        return np.zeros(shape, np.float32)


@pytest.mark.skipif(not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built")
def test_an_image_of_768_pixels_takes_less_than_112_megabytes_beside_weights_that_come_in_turn() -> None:
    published = Layout()
    tower = MobileNetV5(Layout(published.stem, tuple(stage[:3] for stage in published.stages)), Blank())
    pixels = np.zeros((768, 768, 3), np.float32)
    tracemalloc.start()
    try:
        assert tower(pixels).shape == (256, 2048)
        assert 40e6 < tracemalloc.get_traced_memory()[1] < 112e6  # the stem alone makes 37.7 MB
    finally:
        tracemalloc.stop()
