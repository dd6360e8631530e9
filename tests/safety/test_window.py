"""Text on its way out: however it comes in pieces, nothing goes on that would have been stopped."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.errors import ContentBlockedError
from bezel.safety.content import searched
from bezel.safety.patterns import Pattern
from bezel.safety.personal import personal_rules
from bezel.safety.rules import Rule
from bezel.safety.settings import KINDS, Action
from bezel.safety.window import Window
from tests.safety.test_personal import FOUND
from tests.safety.test_rules import rules

WORDS = st.sampled_from(["ab", "T-1234", "é", "T-12", ", ", "zeus"])


def rule(source: str, action: Action = "block", name: str = "one") -> Rule:
    return Rule(name, action, (Pattern(source),))


def pieces(text: str, rng: random.Random, most: int = 7) -> list[str]:
    found = []
    while text:
        length = rng.randint(1, most)
        found.append(text[:length])
        text = text[length:]
    return found


def through(window: Window, parts: list[str]) -> tuple[str, bool]:
    """What was sent, and whether it was blocked then."""
    sent = ""
    try:
        for part in parts:
            sent += window.push(part)
        return sent + window.close(), False
    except ContentBlockedError:
        return sent, True


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 30), st.text("ab sécret", max_size=60), st.text("ab sécret", max_size=60))
def test_no_part_of_a_match_is_sent_wherever_pieces_end(seed: int, size: int, before: str, behind: str) -> None:
    rng = random.Random(seed)
    text = f"{before} XéY12 {behind}"
    sent, blocked = through(Window([rule("XéY[0-9]{2}")], lambda *_: None, size), pieces(text, rng))
    assert blocked and before.startswith(sent.removesuffix(" ")) and "X" not in sent


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 40), st.lists(WORDS, max_size=30))
def test_a_stream_is_redacted_as_a_whole_text_is(seed: int, size: int, words: list[str]) -> None:
    found = [rule("T-[0-9]{2}(?:[0-9]{2})?", "redact", "ticket"), rule("zeus", "redact", "name")]
    text = " ".join(words)
    sent, _ = through(Window(found, lambda *_: None, size), pieces(text, random.Random(seed)))
    assert sent == searched(text, found, "output", lambda *_: None)


@pytest.mark.parametrize("most", [1, 5, 300])
def test_personal_data_is_redacted_in_streams_as_in_whole_texts(most: int) -> None:
    rng, found = random.Random(1), personal_rules(KINDS, "redact")
    values = [value for kind in FOUND for value in FOUND[kind]]
    for _ in range(5):
        rng.shuffle(values)
        text = " and ".join(values)
        sent, _ = through(Window(found, lambda *_: None, 100), pieces(text, rng, most))
        assert sent == searched(text, found, "output", lambda *_: None)
        assert not any(value in sent for value in values)


def test_a_window_holds_no_more_than_it_must() -> None:
    window = Window([rule("zeus")], lambda *_: None, 10)
    assert window.push("a" * 10) == "" and window.push("bcd") == "aaa" and window.close() == "a" * 7 + "bcd"


def test_a_word_that_goes_on_is_none(tmp_path: Path) -> None:
    found = rules(tmp_path, "[[rule]]\nname='one'\naction='block'\nwords=['ass']\n")
    assert through(Window(found, lambda *_: None, 5), list("an assessment, class")) == ("an assessment, class", False)
    assert through(Window(found, lambda *_: None, 5), list("an ass, so")) == ("an ", True)
    assert through(Window(found, lambda *_: None, 5), list("class ass")) == ("clas", True)


def test_the_beginning_and_the_end_are_those_of_the_whole_text() -> None:
    found = [rule("^bc"), rule("bc$")]
    text = "a" + "bc" * 40 + "d"
    assert through(Window(found, lambda *_: None, 4), list(text)) == (text, False)
    assert through(Window(found, lambda *_: None, 4), list(text[:-1]))[1]
    assert through(Window(found, lambda *_: None, 4), list("bcd")) == ("", True)


def test_what_is_longer_than_the_window_is_found_before_the_end() -> None:
    text = "begin " + "x" * 300 + " end more"
    sent, blocked = through(Window([rule("begin.*end")], lambda *_: None, 20), list(text))
    assert blocked and sent.startswith("begin")
    assert through(Window([rule("begin.*end")], lambda *_: None, None), list(text)) == ("", True)
    grows = list("a k" + "1" * 50 + " b")
    assert through(Window([rule("k[0-9]+", "redact")], lambda *_: None, 10), grows) == ("a [one] b", False)
    told: list[str] = []
    window = Window([rule("k[0-9]+", "flag")], lambda name, *_: told.append(name), 10)
    assert "".join(map(window.push, grows[:-2])).startswith("a k1") and told == ["one"]


def test_a_disguise_is_found_at_the_end() -> None:
    assert through(Window([rule("zeus")], lambda *_: None, None), ["of z\u200beus"]) == ("", True)
    assert through(Window([rule("zeus")], lambda *_: None, 3), list("of z\u200beus"))[1]


def test_each_rule_is_told_of_once() -> None:
    told: list[tuple[str, ...]] = []
    found = [rule("a", "flag", "a"), rule("b", "redact", "b"), rule("c", "flag", "c")]
    through(Window(found, lambda *what: told.append(what), 5), list("abab" * 20))
    assert sorted(told) == [("a", "flag", "output"), ("b", "redact", "output")]


def test_what_is_judged_is_sent_only_then() -> None:
    judged: list[str] = []

    def judge(text: str) -> None:
        judged.append(text)
        if "bad" in text:
            raise ContentBlockedError("bad")

    window = Window([], lambda *_: None, 1, judge, 10)
    sent = ["".join(window.push(letter)) for letter in "0123456789abcdefghij"]
    assert "".join(sent) == "0123456789" and judged == ["0123456789"]
    assert window.close() == "abcdefghij" and judged[1] == "0123456789abcdefghij"
    assert through(Window([], lambda *_: None, 1, judge, 4), list("fine text, bad text")) == ("fine text, b", True)
