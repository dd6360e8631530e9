"""Logits that a grammar forbids are taken out, whatever the length and on however many threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bezel.kernels.library import Native
from bezel.kernels.reference import Reference

Sets = Callable[..., Native]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.one_of(st.integers(1, 200), st.sampled_from([4095, 4096, 4097, 20001])), seed=st.integers(0, 99))
def test_masked_logits_are_those_allowed(native: Sets, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n).astype(np.float32)
    x[rng.integers(n)] = -np.inf
    allowed = rng.integers(0, 1 << 32, -(-n // 32), dtype=np.uint32)
    allowed[rng.random(len(allowed)) < 0.5] = 0
    before = x.copy()
    out = native().masked(x, allowed)
    np.testing.assert_array_equal(out, Reference().masked(x, allowed))
    np.testing.assert_array_equal(x, before)
    token = int(rng.integers(n))
    wanted = x[token] if allowed[token // 32] >> token % 32 & 1 else -np.inf
    assert out[token] == wanted


def test_a_mask_must_cover_every_logit(native: Sets) -> None:
    with pytest.raises(ValueError, match="cover"):
        native().masked(np.zeros(33, np.float32), np.zeros(1, np.uint32))
