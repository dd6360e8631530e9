"""Small models with random weights, for tests and demonstrations only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.formats import quantize
from bezel.kernels.interface import F32, Format, Kernels


class ArrayWeights:
    """The `Weights` of arrays in memory: canonical names to float32, norms as the kernels multiply by them."""

    def __init__(self, tensors: Mapping[str, F32], kernels: Kernels, format: Format = Format.F32) -> None:
        self.kernels = kernels
        self._tensors = tensors
        self._format = format

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def _tensor(self, name: str) -> F32:
        if name not in self._tensors:
            raise ModelFileError(f"tensor {name} is missing")
        return self._tensors[name]

    def matrix(self, *names: str, shape: tuple[int, int]) -> Any:
        """See `models.interface.Weights.matrix`."""
        stacked = np.concatenate([self._tensor(name) for name in names])
        if stacked.shape != shape:
            raise ModelFileError(f"{' + '.join(names)} has shape {stacked.shape}; the config asks for {shape}")
        packed = self.kernels.allocate(self._format, *shape)
        self.kernels.store_rows(packed, 0, quantize(self._format, stacked))
        return packed

    def norm(self, name: str, size: int) -> F32:
        """See `models.interface.Weights.norm`."""
        tensor = self._tensor(name)
        if tensor.shape != (size,):
            raise ModelFileError(f"{name} has shape {tensor.shape}; the config asks for ({size},)")
        return tensor
