"""Percentiles of many numbers in little room."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

PRECISION = 0.01
"""Percentiles are off by this share at most."""
_BASE = (1 + PRECISION) / (1 - PRECISION)
_LEAST = 1e-6


@dataclass(frozen=True)
class Spread:
    """Where numbers lie; None where there are none."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class Sketch:
    """Counts of numbers by size, in classes whose borders grow by a constant factor (DDSketch, arXiv:1908.10693).

    Numbers below a millionth are one class.
    """

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self._sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """`value`, `times` times."""
        self._classes[math.ceil(math.log(max(value, _LEAST), _BASE))] += times
        self._sum += value * times


def spread(sketches: Iterable[Sketch]) -> Spread:
    """Of all numbers of several sketches. A percentile is the smallest number that has so many at or below it."""
    classes: Counter[int] = Counter()
    total = 0.0
    for sketch in sketches:
        classes.update(sketch._classes)
        total += sketch._sum
    count = classes.total()
    if not count:
        return Spread(0, None, None, None, None)
    ordered = sorted(classes.items())
    reached = list(accumulate(times for _, times in ordered))

    def percentile(share: float) -> float:
        place = bisect_left(reached, math.ceil(share * count))
        return float(2 * _BASE ** ordered[place][0] / (_BASE + 1))

    return Spread(count, total / count, percentile(0.50), percentile(0.95), percentile(0.99))
