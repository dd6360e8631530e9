"""Long sounds are cut where nobody speaks, and nothing of them is lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError
from bezel.media.silences import pieces_of

RATE = 1000


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * 0.2).astype(np.float32)


def silence(seconds: float, noise: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(round(seconds * RATE)) * noise).astype(np.float32)


def test_a_short_sound_is_one_piece() -> None:
    for seconds in (0, 0.001, 29.999, 30):
        (piece,) = pieces_of(speech(seconds), RATE)
        assert (piece.first, piece.last, piece.repeats) == (0, round(seconds * RATE), 0.0)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_cuts_are_made_in_the_middle_of_pauses(noise: float) -> None:
    spoken = [22.0, 18.5, 27.0, 9.0]
    sound = np.concatenate([part for n, s in enumerate(spoken) for part in (speech(s, n), silence(0.6, noise))])
    pieces = pieces_of(sound, RATE)
    pauses = np.cumsum([s + 0.6 for s in spoken]) - 0.3
    assert len(pieces) == 4 and not any(piece.repeats for piece in pieces)
    for piece, pause in zip(pieces, pauses, strict=False):
        if piece is not pieces[-1]:
            assert abs(piece.last / RATE - pause) < 0.25
    assert all(before.last == after.first for before, after in itertools.pairwise(pieces))


def test_where_nobody_pauses_the_pieces_overlap() -> None:
    pieces = pieces_of(speech(95), RATE, overlap=2.0)
    assert len(pieces) > 3 and {piece.repeats for piece in pieces[1:]} == {2.0}
    for before, after in itertools.pairwise(pieces):
        assert before.last - after.first == 2 * RATE
    with pytest.raises(InvalidRequestError, match="overlap"):
        pieces_of(speech(40), RATE, longest=4, overlap=2)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.05, 40)), max_size=6), st.floats(3, 31), st.floats(0, 1))
def test_pieces_cover_everything_once_but_for_overlaps(parts: list, longest: float, overlap: float) -> None:
    sounds = [speech(seconds) if spoken else silence(seconds) for spoken, seconds in parts]
    sound = np.concatenate([np.zeros(0, np.float32), *sounds])
    pieces = pieces_of(sound, RATE, longest, overlap)
    assert pieces[0].first == 0 and pieces[-1].last == len(sound)
    for piece in pieces:
        assert piece.last - piece.first <= round(longest * RATE)
    for before, after in itertools.pairwise(pieces):
        assert before.last - after.first == round(after.repeats * RATE) and after.last > before.last
