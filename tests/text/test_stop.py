"""Stop strings across borders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError
from bezel.text.stop import StopStrings

TEXTS = st.text("ab<>", max_size=30)


@given(st.lists(TEXTS, max_size=8), st.lists(st.text("ab<>", min_size=1, max_size=4), max_size=3))
def test_pieces_give_what_the_whole_text_gives(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    # The earliest end decides: a stream cannot wait for a longer match that began earlier.
    places = [whole.find(stop) for stop in stops if stop in whole]
    stopper = StopStrings(stops)
    shown = "".join(stopper.push(piece) for piece in pieces)
    if stopper.hit is None:
        assert not places
        assert shown + stopper.flush() == whole
    else:
        assert whole.startswith(shown + stopper.hit)
        assert not any(stop in shown for stop in stops)


def test_a_possible_beginning_is_held_back() -> None:
    stopper = StopStrings(["<end>"])
    assert stopper.push("text <en") == "text "
    assert stopper.push("d of") == "<end of"
    assert stopper.push("<") + stopper.flush() == "<"


def test_nothing_follows_a_hit() -> None:
    stopper = StopStrings(["END", "\n\n"])
    assert [stopper.push(text) for text in ("one\n", "\ntwo", "three")] == ["one", "", ""]
    assert stopper.hit == "\n\n"


def test_empty_stops_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="empty"):
        StopStrings([""])
