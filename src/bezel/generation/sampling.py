"""How the next token is chosen."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bezel.errors import InvalidRequestError
from bezel.kernels.interface import F32, I32, Kernels

_LOOKED_AT = 1024  # largest logits, where no top-k says how many
_ROUNDING = 1e-6  # of a sum of probabilities that come of float32 logits: 0.5 and 0.25 reach a mass of 0.75


_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
}
_LARGEST_BIAS = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters, under the field's usual names. Temperature 0 is greedy.

    Seeds count modulo 2^64. The keys of `logit_bias` are token ids, or these as OpenAI spells them ("5"); None is no
    bias, and -inf keeps a token out. InvalidRequestError names a parameter of another type or out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not _is_number(value) or not low <= value <= high:
                raise InvalidRequestError(f"{name} is {value!r:.100}; it must be a number between {low} and {high}")
            object.__setattr__(self, name, float(value))
        object.__setattr__(self, "top_k", whole("top_k", self.top_k, 0, 1 << 31))
        if self.seed is not None:
            object.__setattr__(self, "seed", whole("seed", self.seed) % 2**64)
        object.__setattr__(self, "logit_bias", _bias(self.logit_bias))


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """`value` as an int. InvalidRequestError with the argument's `name` where it is no whole number within bounds."""
    try:
        integral = isinstance(value, float) and value.is_integer()  # of JSON, YAML or arithmetic
        found = None if isinstance(value, bool) else operator.index(int(value) if integral else value)
    except TypeError:
        found = None
    if found is None:
        raise InvalidRequestError(f"{name} is {value!r:.100}; it must be a whole number")
    if (least is not None and found < least) or (most is not None and found > most):
        bounds = f"at least {least}" if most is None else f"between {least} and {most}"
        raise InvalidRequestError(f"{name} is {found}; it must be {bounds}")
    return found


def _is_number(value: Any) -> bool:
    """Real, also NumPy's arrays of one number, and Decimal."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _bias(bias: Any) -> dict[int, float]:
    if bias is not None and not isinstance(bias, Mapping):
        raise InvalidRequestError(f"logit_bias is {bias!r:.100}; send token ids with what to add to their logits")
    found = {}
    for token, value in (bias or {}).items():
        spelled = isinstance(token, str) and token.isascii() and token.isdigit() and len(token) < 10
        number = whole("a token id of logit_bias", int(token) if spelled else token)
        if not _is_number(value) or not (value == -math.inf or abs(value) <= _LARGEST_BIAS):
            raise InvalidRequestError(
                f"logit_bias of token {number} is {value!r:.100}; it must be a finite number or -inf"
            )
        found[number] = float(value)
    return found


def log_softmax(logits: F32) -> NDArray[np.float64]:
    """Log-probabilities of one row of logits [vocabulary], in float64."""
    shifted = logits.astype(np.float64) - float(logits.max())
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def check_bias(sampling: Sampling, vocabulary: int) -> None:
    """Raise InvalidRequestError where `logit_bias` names a token that the vocabulary does not have."""
    for token in sampling.logit_bias:
        if not 0 <= token < vocabulary:
            raise InvalidRequestError(f"logit_bias names token {token}; the vocabulary has {vocabulary} tokens")


def penalise(logits: F32, history: Sequence[int], produced: Sequence[int], sampling: Sampling) -> F32:
    """Logits [vocabulary] after bias and penalties; the input is left as it was.

    The repetition penalty (Keskar et al. 2019, section 4.1) looks at prompt and answer; presence and
    frequency penalties, as OpenAI's API defines them, at the answer alone.
    """
    if not (
        sampling.logit_bias
        or sampling.repetition_penalty != 1.0
        or sampling.presence_penalty
        or sampling.frequency_penalty
    ):
        return logits
    check_bias(sampling, len(logits))
    out = logits.copy()
    if sampling.repetition_penalty != 1.0 and len(history):
        seen = np.unique(np.asarray(history, np.int64))
        values = out[seen]
        out[seen] = np.where(values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty)
    if produced and (sampling.presence_penalty or sampling.frequency_penalty):
        tokens, counts = np.unique(np.asarray(produced, np.int64), return_counts=True)
        out[tokens] -= (sampling.presence_penalty + sampling.frequency_penalty * counts).astype(np.float32)
    for token, bias in sampling.logit_bias.items():
        out[token] += np.float32(bias)
    return out


def distribution(logits: F32, sampling: Sampling) -> NDArray[np.float64]:
    """Probabilities [vocabulary] after temperature, top-k, typical, top-p and min-p, in that order.

    Each filter keeps at least one token. Typical: Meister et al. 2022; min-p: Nguyen et al. 2024.
    """
    probabilities = np.exp(log_softmax(logits / np.float32(sampling.temperature)))
    if 0 < sampling.top_k < len(probabilities):
        order = np.argsort(-probabilities, kind="stable")
        probabilities[order[sampling.top_k :]] = 0.0
        probabilities /= probabilities.sum()
    _filter(probabilities, sampling)
    return probabilities


def candidates(logits: F32, sampling: Sampling, kernels: Kernels) -> tuple[I32, NDArray[np.float64]]:
    """The ids that may be chosen and their probabilities, as `distribution` has them.

    Where filters leave few, only the largest logits are looked at, and the vocabulary is not sorted.
    """
    vocabulary, temperature = len(logits), np.float32(sampling.temperature)
    limited = 0 < sampling.top_k < vocabulary
    ids = kernels.largest(logits, sampling.top_k if limited else _LOOKED_AT)
    scaled = (logits[ids] / temperature).astype(np.float64)
    if limited:
        probabilities = np.exp(scaled - scaled[0])
        probabilities /= probabilities.sum()
    else:
        probabilities = np.exp(scaled - kernels.log_sum_exp(logits / temperature))
        # Typical sampling, and filters that reach further than what was looked at, need the whole vocabulary.
        enough = sampling.top_p < 1.0 and probabilities.sum() >= sampling.top_p
        enough |= sampling.top_p == 1.0 and probabilities[-1] < sampling.min_p * probabilities[0]
        if sampling.typical_p < 1.0 or not enough:
            return np.arange(vocabulary, dtype=np.int32), distribution(logits, sampling)
    _filter(probabilities, sampling)
    return ids, probabilities


def _filter(probabilities: NDArray[np.float64], sampling: Sampling) -> None:
    """Typical, top-p and min-p, in place."""
    if sampling.typical_p < 1.0:
        surprise = -np.log(np.maximum(probabilities, 1e-300))
        entropy = float((probabilities * surprise).sum())
        distance = np.where(probabilities > 0, np.abs(surprise - entropy), np.inf)
        _keep_mass(probabilities, np.argsort(distance, kind="stable"), sampling.typical_p)
    if sampling.top_p < 1.0:
        _keep_mass(probabilities, np.argsort(-probabilities, kind="stable"), sampling.top_p)
    if sampling.min_p > 0.0:
        probabilities[probabilities < sampling.min_p * probabilities.max()] = 0.0
        probabilities /= probabilities.sum()


def _keep_mass(probabilities: NDArray[np.float64], order: NDArray[np.int64], mass: float) -> None:
    """Zero all but the shortest run of `order` whose probability reaches `mass` to rounding; renormalise in place."""
    count = int(np.searchsorted(np.cumsum(probabilities[order]), mass - _ROUNDING)) + 1
    probabilities[order[max(count, 1) :]] = 0.0
    probabilities /= probabilities.sum()


def choose(logits: F32, sampling: Sampling, rng: np.random.Generator, kernels: Kernels) -> int:
    """The next token id from penalised logits [vocabulary]; temperature 0 takes the first maximum.

    InvalidRequestError where biases have left nothing to choose from.
    """
    if sampling.temperature == 0.0:
        return int(np.argmax(logits))
    ids, probabilities = candidates(logits, sampling, kernels)
    cumulative = np.cumsum(probabilities)
    if not cumulative[-1] > 0:
        raise InvalidRequestError("no token has a probability left; loosen logit_bias")
    return int(ids[np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")])
