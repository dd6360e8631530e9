"""What a step computes in: BF16 where this processor multiplies it faster than float32. Not every one that can does."""

import time

import torch
from torch.nn import functional


def _seconds(dtype: torch.dtype) -> float:
    """Of a product such as layers have, the fastest of several."""
    rows, weight = torch.ones(2048, 192, dtype=dtype), torch.ones(768, 192, dtype=dtype)
    found = []
    for _ in range(8):
        started = time.perf_counter()
        functional.linear(rows, weight)
        found.append(time.perf_counter() - started)
    return min(found)


BF16_IS_FASTER = _seconds(torch.bfloat16) < _seconds(torch.float32)


def precision() -> torch.autocast:
    """Around what a model computes for training."""
    return torch.autocast("cpu", torch.bfloat16, enabled=BF16_IS_FASTER)
