"""Residual streams: alternating updates (AltUp, Baykal et al. 2023) and LAuReL (Menghani et al. 2024).

`AltUpReference` defines what `AltUpNative` calls; `interface.Kernels` says what each method promises.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bezel.kernels.caller import Caller
from bezel.kernels.interface import F32

MOST_STREAMS = 8
_LEAST_SQUARE = 1e-5


def _modalities(x: F32, router: F32, eps: float) -> F32:
    """tanh of the router's view of x [T, n], normed: [T, streams]."""
    scale = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True, dtype=np.float32) + np.float32(eps))
    routed: F32 = np.tanh(_each(router, x) * scale)
    return routed


def _each(matrix: F32, x: F32) -> F32:
    """x [T, n] times a small matrix [m, n]: [T, m], every row by itself, which BLAS does not promise."""
    products: F32 = (x[:, None] * matrix).sum(axis=2, dtype=np.float32)
    return products


def _normed(x: F32, weight: F32 | None, eps: float) -> F32:
    normed: F32 = x / np.sqrt((x * x).mean(axis=-1, keepdims=True, dtype=np.float32) + np.float32(eps))
    return normed if weight is None else normed * weight


def _same_magnitude(target: F32, x: F32) -> F32:
    """x [..., n] with the root mean square of target."""
    wanted = (target * target).mean(axis=-1, keepdims=True, dtype=np.float32)
    found = (x * x).mean(axis=-1, keepdims=True, dtype=np.float32)
    scaled: F32 = x * (np.sqrt(wanted) / np.sqrt(np.maximum(found, np.float32(_LEAST_SQUARE))))
    return scaled


class AltUpReference:
    """The part of `Kernels` that works on streams [T, S, n], in NumPy."""

    def altup_expand(self, x: F32, projected: F32) -> F32:
        others = projected.reshape(len(x), -1, x.shape[1])
        return np.concatenate([x[:, None], _same_magnitude(x[:, None], others)], axis=1)

    def altup_predict(
        self, streams: F32, router: F32, coefs: F32, active: int, weight: F32, eps: float
    ) -> tuple[F32, F32]:
        count = streams.shape[1]
        modal = _modalities(streams[:, active], router, eps)
        mix = _each(coefs, modal).reshape(-1, count, count, 1)
        predictions = streams + (mix * streams[:, None]).sum(axis=2, dtype=np.float32)
        return predictions, _normed(predictions[:, active], weight, eps)

    def laurel(
        self, predictions: F32, active: int, normed: F32, attended: F32, low: F32, norms: Sequence[F32], eps: float
    ) -> tuple[F32, F32]:
        attention_norm, laurel_norm, next_norm = norms
        gated = predictions[:, active] + _normed(attended, attention_norm, eps)
        mixed = (gated + (normed + _normed(low, laurel_norm, eps))) * np.float32(math.sqrt(0.5))
        return mixed, _normed(mixed, next_norm, eps)

    def altup_correct(
        self,
        predictions: F32,
        mixed: F32,
        fed: F32,
        weight: F32,
        router: F32,
        coefs: F32,
        active: int,
        scale: F32 | None,
        eps: float,
    ) -> F32:
        mixed += _normed(fed, weight, eps)
        share = 1 + _each(coefs, _modalities(mixed, router, eps))
        predictions += share[..., None] * (mixed - predictions[:, active])[:, None]
        corrected = predictions[:, active]
        return corrected.copy() if scale is None else corrected * scale

    def altup_inject(self, streams: F32, x: F32, weight: F32, eps: float) -> None:
        streams[:, 1:] += _normed(x, weight, eps)[:, None]

    def altup_split(self, streams: F32) -> F32:
        return np.ascontiguousarray(streams.swapaxes(0, 1))

    def altup_merge(self, first: F32, others: Sequence[F32]) -> F32:
        merged: F32 = np.mean([first, *(_same_magnitude(first, x) for x in others)], axis=0, dtype=np.float32)
        return merged

    def gelu_gate(self, x: F32, inputs: F32, layer: int) -> None:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        x[...] = 0.5 * x * (1 + np.tanh(inner)) * inputs[:, layer]

    def norm_heads(self, x: F32, weight: F32 | None, eps: float) -> None:
        x[...] = _normed(x, weight, eps)


def _check_streams(streams: F32, *rows: F32) -> tuple[int, int, int]:
    tokens, count, n = streams.shape
    if count > MOST_STREAMS or any(x.shape != (tokens, n) for x in rows):
        raise ValueError(f"streams {streams.shape} and rows {[x.shape for x in rows]} do not go together")
    return tokens, count, n


def _check_mixing(count: int, n: int, router: F32, coefs: F32, outputs: int) -> None:
    if router.shape != (count, n) or coefs.shape != (outputs, count):
        raise ValueError(f"a router {router.shape} and coefficients {coefs.shape} do not mix {count} streams of {n}")


class AltUpNative(Caller):
    """The part of `Kernels` that works on streams, compiled (native/altup.h)."""

    def altup_expand(self, x: F32, projected: F32) -> F32:
        tokens, n = x.shape
        count = 1 + projected.shape[1] // n
        if projected.shape != (tokens, (count - 1) * n) or count > MOST_STREAMS:
            raise ValueError(f"x {x.shape} and its projections {projected.shape} do not go together")
        out = self._empty(tokens, count, n)
        self._call("altup_expand", self._at(x), self._at(projected), tokens, count, n, self._at(out))
        return out

    def altup_predict(
        self, streams: F32, router: F32, coefs: F32, active: int, weight: F32, eps: float
    ) -> tuple[F32, F32]:
        tokens, count, n = _check_streams(streams)
        _check_mixing(count, n, router, coefs, count * count)
        out, normed = self._empty(tokens, count, n), self._empty(tokens, n)
        given = [self._at(array) for array in (streams, router, coefs, weight)]
        self._call("altup_predict", *given, tokens, count, n, active, eps, self._at(out), self._at(normed))
        return out, normed

    def laurel(
        self, predictions: F32, active: int, normed: F32, attended: F32, low: F32, norms: Sequence[F32], eps: float
    ) -> tuple[F32, F32]:
        tokens, count, n = _check_streams(predictions, normed, attended, low)
        mixed, following = self._empty(tokens, n), self._empty(tokens, n)
        given = [self._at(array) for array in (predictions, normed, attended, low, *norms)]
        self._call("laurel", *given, tokens, count, n, active, eps, self._at(mixed), self._at(following))
        return mixed, following

    def altup_correct(
        self,
        predictions: F32,
        mixed: F32,
        fed: F32,
        weight: F32,
        router: F32,
        coefs: F32,
        active: int,
        scale: F32 | None,
        eps: float,
    ) -> F32:
        tokens, count, n = _check_streams(predictions, mixed, fed)
        _check_mixing(count, n, router, coefs, count)
        out = self._empty(tokens, n)
        given = [self._at(array) for array in (predictions, mixed, fed, weight, router, coefs)]
        scaling = 0 if scale is None else self._at(scale)
        self._call("altup_correct", *given, scaling, tokens, count, n, active, eps, self._at(out))
        return out

    def altup_inject(self, streams: F32, x: F32, weight: F32, eps: float) -> None:
        tokens, count, n = _check_streams(streams, x)
        self._call("altup_inject", self._at(streams), self._at(x), self._at(weight), tokens, count, n, eps)

    def altup_split(self, streams: F32) -> F32:
        tokens, count, n = _check_streams(streams)
        out = self._empty(count, tokens, n)
        self._call("altup_split", self._at(streams), tokens, count, n, self._at(out))
        return out

    def altup_merge(self, first: F32, others: Sequence[F32]) -> F32:
        tokens, n = first.shape
        out = self._empty(tokens, n)
        for x in (first, *others):
            if x.shape != first.shape:
                raise ValueError(f"a stream of {x.shape} does not merge with one of {first.shape}")
            self._call("altup_merge", self._at(first), self._at(x), tokens, 1 + len(others), n, self._at(out))
        return out

    def gelu_gate(self, x: F32, inputs: F32, layer: int) -> None:
        tokens, n = x.shape
        if inputs.ndim != 3 or (inputs.shape[0], inputs.shape[2]) != x.shape or not 0 <= layer < inputs.shape[1]:
            raise ValueError(f"a gate of {x.shape} does not go with layer {layer} of inputs {inputs.shape}")
        self._call("gelu_gate", self._at(x), self._at(inputs), tokens, n, inputs.shape[1], layer)

    def norm_heads(self, x: F32, weight: F32 | None, eps: float) -> None:
        tokens, heads, n = x.shape
        scale = 0 if weight is None else self._at(weight)
        self._call("norm_heads", *self._rows_at(x), scale, tokens, heads, n, eps)
