"""The audio tower's sizes and memory; what it computes is compared in tests/parity/test_gemma3n_audio.py."""

from __future__ import annotations

import os
import tracemalloc
from typing import Any

import numpy as np
import pytest

from bezel.errors import ModelFileError
from bezel.kernels.interface import Format
from bezel.kernels.library import Native
from bezel.media.spectrograms import LogMel
from bezel.models.audio import usm
from bezel.testing import instruction_sets


def test_thirty_seconds_are_188_soft_tokens() -> None:
    published = usm.Config.from_hf({})
    frames = LogMel().frames
    assert published.rows_out(frames(30 * 16_000)) == 188
    assert all(published.rows_out(frames(s * 16_000)) in (int(6.25 * s), int(6.25 * s) + 1) for s in range(1, 61))
    assert published.rows_out(0) == 0


class Blank:
    """The `Weights` of a tower that knows nothing, in 8 bits."""

    def __init__(self) -> None:
        self.kernels = Native()

    def matrix(self, *names: str, shape: tuple[int, int], padded: bool = False) -> Any:
        return self.kernels.allocate(Format.F16 if shape[1] % 32 else Format.Q8_0, *shape)

    def in_turn(self, builders: Any) -> Any:
        return [build() for build in builders]

    def norm(self, name: str, size: int) -> np.ndarray:
        return np.ones(size, np.float32)

    vector = norm

    def array(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        return np.zeros(shape, np.float32)


@pytest.mark.skipif(not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built")
def test_thirty_seconds_at_the_true_shape_take_less_than_48_megabytes() -> None:
    tower = usm.Conformer(usm.Config.from_hf({"conf_num_hidden_layers": 2}), Blank())
    features = LogMel()(np.zeros(30 * 16_000, np.float32))
    tracemalloc.start()
    try:
        assert tower(features).shape == (188, 1536)
        assert 16e6 < tracemalloc.get_traced_memory()[1] < 48e6  # what a feed-forward has inside is 18.4 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"conf_num_attention_heads": 7},
        {"conf_attention_context_right": -1},
        {"sscp_conv_channel_size": [128]},
        {"sscp_conv_kernel_size": [[3, 3], 3]},
        {"sscp_conv_stride_size": [[2, 2], [4, 2]]},
        {"input_feat_size": 1, "sscp_conv_kernel_size": [[3, 9], [3, 3]]},
    ],
    ids=str,
)
def test_a_wrong_field_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="config: "):
        usm.Config.from_hf(wrong)
