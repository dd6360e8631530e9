"""Drafts that do not pay are given up at little cost; drafts that pay are kept and grow."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.generation.pace import MOST_DRAFT, Pace

PLAIN = 0.003


def run(
    tokens: int, accepts: Callable[[], bool], row: float, drafting: float = 0.0, recording: float = 1.0, seed: int = 0
) -> tuple[float, list[int]]:
    """Plain seconds over speculation's for an answer, and what was drafted; a further row costs `row` plain passes."""
    pace, drafts, seconds, produced, known = Pace(), list[int](), 0.0, 0, set[int]()
    noise = random.Random(seed)
    while produced < tokens:
        drafted = pace.length(tokens - produced - 1, lambda count: count * drafting)
        assert 0 <= drafted <= max(0, min(MOST_DRAFT, tokens - produced - 1))
        accepted = 0
        while accepted < drafted and accepts():
            accepted += 1
        took = PLAIN * (1 + row * drafted) * noise.uniform(0.95, 1.05)
        took += recording * PLAIN * (drafted not in known)
        known.add(drafted)
        pace.record(drafted, accepted, took, drafted * drafting)
        seconds += took + drafted * drafting
        drafts.append(drafted)
        produced += 1 + accepted
    return (tokens + recording) * PLAIN / seconds, drafts


@settings(deadline=None)
@given(st.integers(128, 2000), st.sampled_from([0.02, 0.1, 0.3, 1.0]), st.sampled_from([0.0, 0.001]), st.integers(0, 9))
def test_drafts_that_are_never_accepted_cost_less_than_three_percent(
    tokens: int, row: float, drafting: float, seed: int
) -> None:
    ratio, drafts = run(tokens, lambda: False, row, drafting, seed=seed)
    assert ratio > 0.97
    assert any(drafts)


def test_pauses_grow_while_nothing_is_accepted() -> None:
    _, drafts = run(4000, lambda: False, 0.2)
    tries = [place for place, drafted in enumerate(drafts) if drafted]
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert max(gaps) > 500 and len(tries) < 40


@pytest.mark.parametrize(("row", "gain"), [(0.1, 4.0), (0.3, 2.2)])
def test_drafts_that_are_always_accepted_soon_have_their_full_length(row: float, gain: float) -> None:
    ratio, drafts = run(400, lambda: True, row)
    assert ratio > gain
    assert drafts[20:30] == [MOST_DRAFT] * 10


def test_drafts_that_cost_as_much_as_they_give_are_given_up() -> None:
    ratio, drafts = run(400, lambda: True, 0.1, drafting=PLAIN)
    assert ratio > 0.97
    assert sum(drafts) < 40


def test_the_length_follows_acceptance() -> None:
    rng = random.Random(1)
    _, likely = run(2000, lambda: rng.random() < 0.9, 0.2)
    _, unlikely = run(2000, lambda: rng.random() < 0.4, 0.2)
    assert sum(likely) / len(likely) > 2 * sum(unlikely) / len(unlikely)


def test_speculation_comes_back_when_the_text_begins_to_repeat() -> None:
    place = iter(range(100000))
    _, drafts = run(3000, lambda: next(place) > 9, 0.2)
    assert sum(drafts[-20:]) > 100
