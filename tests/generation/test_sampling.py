"""Sampling: each filter against its definition, at shapes small enough to work out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError
from bezel.generation.sampling import Sampling, candidates, choose, distribution, penalise
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.testing import instruction_sets

KERNELS = Native(1) if instruction_sets() else Reference()
LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0.5, 0.25, 0.15, 0.1]),
        (Sampling(top_k=2), [2 / 3, 1 / 3, 0, 0]),
        (Sampling(top_p=0.6), [2 / 3, 1 / 3, 0, 0]),
        (Sampling(top_p=0.75), [2 / 3, 1 / 3, 0, 0]),
        (Sampling(top_p=0.9), [5 / 9, 5 / 18, 1 / 6, 0]),
        (Sampling(top_p=0.0), [1, 0, 0, 0]),
        (Sampling(min_p=0.4), [2 / 3, 1 / 3, 0, 0]),
        (Sampling(typical_p=0.2), [0, 1, 0, 0]),
    ],
)
def test_filters_keep_what_their_definition_says(sampling: Sampling, expected: list[float]) -> None:
    np.testing.assert_allclose(distribution(LOGITS, sampling), expected, atol=1e-6)
    found = np.zeros(len(LOGITS))
    ids, probabilities = candidates(LOGITS, sampling, KERNELS)
    found[ids] = probabilities
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_temperature_sharpens() -> None:
    squared = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    np.testing.assert_allclose(distribution(LOGITS, Sampling(temperature=0.5)), squared / squared.sum(), atol=1e-6)


def test_penalties_follow_their_formulas_and_leave_the_input() -> None:
    logits = np.array([2.0, -2.0, 1.0, 0.0], np.float32)
    sampling = Sampling(repetition_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25, logit_bias={3: 7.0})
    out = penalise(logits, [0, 1], [1, 1], sampling)
    np.testing.assert_allclose(out, [1.0, -4.0 - 0.5 - 0.5, 1.0, 7.0])
    assert logits.tolist() == [2.0, -2.0, 1.0, 0.0]


def test_bias_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="token 4"):
        penalise(LOGITS, [], [], Sampling(logit_bias={4: 1.0}))


def test_greedy_takes_the_first_maximum() -> None:
    assert choose(np.array([1, 3, 3, 0], np.float32), Sampling(temperature=0.0), np.random.default_rng(0), KERNELS) == 1


@given(st.integers(0, 2**32), st.floats(0.05, 1.0), st.integers(0, 5))
def test_a_token_without_probability_is_never_drawn(seed: int, top_p: float, top_k: int) -> None:
    sampling = Sampling(top_p=top_p, top_k=top_k)
    probabilities = distribution(LOGITS, sampling)
    rng = np.random.default_rng(seed)
    assert all(probabilities[choose(LOGITS, sampling, rng, KERNELS)] > 0 for _ in range(20))


def test_draws_follow_the_distribution() -> None:
    rng = np.random.default_rng(3)
    counts = np.bincount([choose(LOGITS, Sampling(), rng, KERNELS) for _ in range(4000)], minlength=4)
    np.testing.assert_allclose(counts / 4000, [0.5, 0.25, 0.15, 0.1], atol=0.03)


@given(
    st.integers(0, 2**32),
    st.sampled_from([1.0, 0.5, 4.0]),
    st.sampled_from([0, 1, 40, 2999, 5000]),
    st.sampled_from([1.0, 0.95, 0.3, 0.0]),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.sampled_from([1.0, 0.9]),
)
def test_candidates_are_the_distribution(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float, typical_p: float
) -> None:
    logits = np.random.default_rng(seed).standard_normal(3000).astype(np.float32) * 4
    sampling = Sampling(temperature, top_k, top_p, min_p, typical_p)
    ids, probabilities = candidates(logits, sampling, KERNELS)
    whole = np.zeros(3000)
    whole[ids] = probabilities
    assert len(set(ids.tolist())) == len(ids)
    np.testing.assert_allclose(whole, distribution(logits, sampling), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 0.9), (0.7, 0.5), (1.5, 0.5)])
def test_the_largest_are_weighed_against_the_whole_vocabulary(temperature: float, top_p: float) -> None:
    logits = np.random.default_rng(1).standard_normal(3000).astype(np.float32) * 2
    sampling = Sampling(temperature, top_p=top_p)
    ids, probabilities = candidates(logits, sampling, KERNELS)
    assert len(ids) <= 1024
    whole = np.zeros(3000)
    whole[ids] = probabilities
    np.testing.assert_allclose(whole, distribution(logits, sampling), rtol=1e-4, atol=1e-9)


def test_usual_settings_do_not_sort_the_vocabulary() -> None:
    logits = np.random.default_rng(0).standard_normal(3000).astype(np.float32) * 4
    for sampling in (Sampling(top_k=64, top_p=0.95), Sampling(top_p=0.9), Sampling(min_p=0.1)):
        assert len(candidates(logits, sampling, KERNELS)[0]) <= 1024
