"""Percentiles of sketches."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.monitor.sketch import PRECISION, Sketch, Spread, spread


def exact(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def sketched(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=300))
def test_percentiles_are_close_to_the_exact_ones(values: list[float]) -> None:
    found = spread([sketched(values)])
    assert found.count == len(values) and found.mean == pytest.approx(sum(values) / len(values))
    for share, got in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        assert got == pytest.approx(exact(values, share), rel=PRECISION * 1.001)


def test_sketches_add_up() -> None:
    values = [random.Random(1).lognormvariate(0, 2) for _ in range(1000)]
    assert spread([sketched(values[:400]), sketched(values[400:])]).p95 == spread([sketched(values)]).p95
    weighed = Sketch()
    weighed.add(2.0, 99)
    weighed.add(50.0)
    assert spread([weighed]).p99 == pytest.approx(2.0, rel=PRECISION)
    assert spread([weighed]).mean == pytest.approx(2.48)


def test_nothing_and_next_to_nothing() -> None:
    assert spread([]) == Spread(0, None, None, None, None)
    assert spread([sketched([0.0])]).p50 == pytest.approx(1e-6, rel=PRECISION)
