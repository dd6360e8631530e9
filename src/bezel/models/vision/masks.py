"""PaliGemma's masks: a decoder of a vector-quantised autoencoder, sixteen codes to 64 x 64 pixels.

Its weights are no part of a checkpoint: `vae-oid.npz` of google-research/big_vision, section "PaliGemma" there.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bezel.errors import InvalidRequestError, ModelFileError
from bezel.kernels.interface import F32

_CODES, _SIDE = 16, 4
_SHAPES = {
    "decoder.0": (128, 512, 1, 1),
    **{
        f"decoder.{block}.net.{part}": (128, 128, size, size)
        for block in (2, 3)
        for part, size in ((0, 3), (2, 3), (4, 1))
    },
    "decoder.4": (128, 128, 4, 4),
    "decoder.6": (128, 64, 4, 4),
    "decoder.8": (64, 32, 4, 4),
    "decoder.10": (32, 16, 4, 4),
    "decoder.12": (1, 16, 1, 1),
}
# What NumPy raises for a file that is no archive of arrays, and for one that is broken or asks for pickles.
_BROKEN = (EOFError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
_TRANSPOSED = (4, 6, 8, 10)
_EMBEDDING = "_vq_vae._embedding"


class MaskDecoder:
    """Makes masks of codes. `weights`: the arrays of the file by name, float32; ModelFileError for other shapes."""

    def __init__(self, weights: Mapping[str, F32]) -> None:
        for name, shape in _SHAPES.items():
            outputs = shape[1] if int(name.split(".")[1]) in _TRANSPOSED else shape[0]
            for part, wanted in (("weight", shape), ("bias", (outputs,))):
                found = np.shape(weights.get(f"{name}.{part}", ()))
                if found != wanted:
                    raise ModelFileError(f"{name}.{part} has shape {found}, not {wanted}; is this vae-oid.npz?")
        if np.shape(weights.get(_EMBEDDING, ())) != (128, 512):
            raise ModelFileError(f"{_EMBEDDING} is not [128, 512]; is this vae-oid.npz?")
        self._weights = weights

    @classmethod
    def load(cls, path: Path | str) -> MaskDecoder:
        """Read `vae-oid.npz`. Pickles in it are never read. Raises ModelFileError."""
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                names = [*(f"{name}.{part}" for name in _SHAPES for part in ("weight", "bias")), _EMBEDDING]
                weights = {name: np.asarray(file[name], np.float32) for name in names if name in file}
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read ({error.strerror}); name big_vision's vae-oid.npz") from None
        except _BROKEN:
            raise ModelFileError(f"{path}: is no whole vae-oid.npz; download it from big_vision again") from None
        try:
            return cls(weights)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from None

    def mask(self, codes: Sequence[int]) -> F32:
        """How surely each of 64 x 64 parts of the box belongs to the object, 0 to 1. Raises InvalidRequestError."""
        if len(codes) != _CODES or not all(0 <= code < 128 for code in codes):
            raise InvalidRequestError(f"a mask has {_CODES} codes from 0 to 127, not {list(codes)}")
        x = self._weights[_EMBEDDING][list(codes)].reshape(_SIDE, _SIDE, -1)
        x = np.maximum(self._convolved(x, "decoder.0"), 0)
        for block in (2, 3):
            inner = np.maximum(self._convolved(x, f"decoder.{block}.net.0"), 0)
            inner = np.maximum(self._convolved(inner, f"decoder.{block}.net.2"), 0)
            x = x + self._convolved(inner, f"decoder.{block}.net.4")
        for layer in _TRANSPOSED:
            x = np.maximum(self._doubled(x, f"decoder.{layer}"), 0)
        found: F32 = np.clip(self._convolved(x, "decoder.12")[..., 0] * 0.5 + 0.5, 0, 1)
        return found

    def _convolved(self, x: F32, name: str) -> F32:
        """A convolution [out, in, k, k] of x [height, width, in] that keeps its size."""
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        size = weight.shape[-1]
        padded = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
        found: F32 = np.einsum("hwcij,ocij->hwo", windows, weight, optimize=True) + bias
        return found

    def _doubled(self, x: F32, name: str) -> F32:
        """A transposed convolution [in, out, 4, 4] with stride 2 and padding 1: twice the height and width."""
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        height, width, _ = x.shape
        out = np.zeros((2 * height + 2, 2 * width + 2, weight.shape[1]), np.float32)
        spread = np.einsum("hwc,coij->hwijo", x, weight, optimize=True)
        for i in range(4):
            for j in range(4):
                out[i : i + 2 * height : 2, j : j + 2 * width : 2] += spread[:, :, i, j]
        return out[1:-1, 1:-1] + bias
