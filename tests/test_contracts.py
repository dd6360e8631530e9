"""The contracts that every part is built against."""

from dataclasses import replace
from decimal import Decimal
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from bezel.errors import InvalidRequestError
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import Format
from bezel.models.interface import Batch, CacheSpec, LayerCache


def test_a_type_checker_of_users_is_told_that_the_package_is_typed() -> None:
    assert files("bezel").joinpath("py.typed").is_file(), "PEP 561; without it all is Any to them"


def test_batch_lays_sequences_end_to_end() -> None:
    batch = Batch.of([([5, 6, 7], 0, False), ([9], 41, False), ([1, 2], 3, True)])
    assert batch.positions.tolist() == [0, 1, 2, 41, 3, 4]
    assert batch.logit_rows.tolist() == [2, 3, 4, 5]
    assert [s.row for s in batch.segments] == [0, 3, 4]
    assert batch.ids.dtype == np.int32


def test_cache_bytes_follow_the_window_and_skip_shared_layers() -> None:
    spec = CacheSpec((LayerCache(1, 256), LayerCache(1, 256, window=512), LayerCache(1, 256, shared_with=0)))
    assert spec.bytes_per_sequence(4096) == 2 * 256 * 2 * (4096 + 512)
    assert replace(spec, format=Format.F32).bytes_per_sequence(4096) == 2 * 256 * 4 * (4096 + 512)
    assert replace(spec, format=Format.Q8_0).bytes_per_sequence(4096) == 2 * 256 // 32 * 34 * (4096 + 512)


def test_a_cache_format_that_cannot_hold_the_heads_is_refused() -> None:
    CacheSpec((LayerCache(1, 8),), Format.F16)
    with pytest.raises(InvalidRequestError, match="multiple of 32 elements; this model's have 8"):
        CacheSpec((LayerCache(1, 8),), Format.Q8_0)
    with pytest.raises(InvalidRequestError, match="Q4_0"):
        CacheSpec((LayerCache(1, 64),), Format.Q4_0)


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "typical_p", "repetition_penalty"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), 1e9])
def test_sampling_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "0.7"),
        ("temperature", None),
        ("temperature", True),
        ("top_k", None),
        ("top_k", 1.5),
        ("seed", 1.5),
        ("seed", "a"),
        ("logit_bias", [1]),
        ("logit_bias", {"a": 1.0}),
        ("logit_bias", {1.5: 1.0}),
        ("logit_bias", {5: float("nan")}),
        ("logit_bias", {5: float("inf")}),
        ("logit_bias", {5: 10**400}),
        ("logit_bias", {5: "1"}),
    ],
)
def test_sampling_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=name) as caught:
        Sampling(**{name: value})
    assert len(str(caught.value)) < 250


def test_sampling_takes_what_people_write() -> None:
    assert Sampling(seed=-1).seed == 2**64 - 1 and Sampling(seed=np.int64(7)).seed == 7
    assert Sampling(logit_bias={"5": 1, 6: np.float32(2)}).logit_bias == {5: 1.0, 6: 2.0}
    assert Sampling(logit_bias={5: -np.inf}).logit_bias == {5: -np.inf}  # never chosen
    assert Sampling(logit_bias=None).logit_bias == {}  # type: ignore[arg-type]
    assert Sampling(temperature=np.array(0.0), top_k=5.0).top_k == 5  # type: ignore[arg-type]
    assert Sampling(temperature=Decimal("0.5")).temperature == 0.5  # type: ignore[arg-type]
    found = replace(Sampling(temperature=np.float32(0.5), top_k=np.int64(3)), min_p=0)
    assert (type(found.temperature), found.temperature, type(found.top_k), found.min_p) == (float, 0.5, int, 0.0)


def test_rows_that_blocks_do_not_divide_are_refused() -> None:
    assert Format.Q4_0.row_bytes(64) == 36
    with pytest.raises(ValueError, match="Q6_K"):
        Format.Q6_K.row_bytes(640)
