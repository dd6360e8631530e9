"""Distances between texts."""

from __future__ import annotations

import pytest

from bezel.training.scores import characters_right, distance, spoken_form, word_errors


@pytest.mark.parametrize(
    ("found", "expected", "errors"),
    [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_distance(found: str, expected: str, errors: int) -> None:
    assert distance(found, expected) == errors == distance(expected, found)


def test_words_are_compared_as_they_are_heard() -> None:
    assert spoken_form("Où est l\u2019hôtel ?  MERCI!") == "où est l'hôtel merci"
    assert word_errors("ou est la gare", "Où est la gare ?") == (1, 4)
    assert word_errors("", "Good morning.") == (2, 2)


def test_characters_are_counted_with_case_and_never_below_none() -> None:
    assert characters_right("Milk 2.40\nTotal 2.40", "Milk 2.40 Total 2.40") == (20, 20)
    assert characters_right("milk 2.4", "Milk 2.40") == (7, 9)
    assert characters_right("x" * 50, "abc") == (0, 3)
