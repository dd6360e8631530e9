"""A window that slides."""

from __future__ import annotations

import pytest

from bezel.monitor.recent import SLOTS, Recent


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> Recent:
    """Slots of a second."""
    return Recent(60.0, clock)


def test_what_is_old_is_forgotten(recent: Recent, clock: Clock) -> None:
    recent.count("a", 3)
    recent.time("t", 0.5)
    clock.now += 30
    recent.count("a")
    recent.time("t", 2.0)
    assert recent.total("a") == 4 and recent.spread("t").count == 2
    clock.now += 29.5
    assert recent.total("a") == 4
    clock.now += 0.6
    assert recent.total("a") == 1 and recent.spread("t").p99 == pytest.approx(2.0, rel=0.01)
    clock.now += 1000
    assert recent.total("a") == 0 and recent.spread("t").count == 0


def test_rates_are_of_the_time_that_there_was(recent: Recent, clock: Clock) -> None:
    recent.count("a", 10)
    assert recent.per_second("a") == 10, "never over less than a slot"
    clock.now += 5
    assert recent.per_second("a") == 2
    clock.now += 35.5
    recent.count("a", 3)
    assert recent.per_second("a", slots=2) == pytest.approx(3 / 1.5)
    assert recent.per_second("b") == 0


def test_slots_stand_in_their_order(recent: Recent, clock: Clock) -> None:
    recent.count("a", 2)
    recent.level("l", 5)
    recent.level("l", 3)
    clock.now += 2
    recent.count("a", 7)
    recent.time("t", 0.25)
    assert recent.rates("a")[-2:] == [2, 0], "the slot that is not over is left out"
    clock.now += 1
    assert recent.rates("a")[-3:] == [2, 0, 7] and len(recent.rates("a")) == SLOTS - 1
    assert recent.levels("l")[-3:] == [5, None, None]
    assert recent.p95s("t")[-3:] == [None, None, pytest.approx(0.25, rel=0.01)]
