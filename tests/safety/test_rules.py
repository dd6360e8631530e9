"""Rules: what a file of them may say, what they find, and that no text makes them slow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bezel.errors import ContentBlockedError, InvalidRequestError, MissingExtraError
from bezel.safety.content import ContentPolicy, searched
from bezel.safety.rules import Rule, read_rules
from bezel.safety.settings import PolicySettings

FILE = r"""
[[rule]]
name = "project"
action = "block"
words = ["Zeus", "C++", "böse"]

[[rule]]
name = "ticket"
action = "redact"
on = ["output"]
patterns = ['\bT-[0-9]{4}\b']

[[rule]]
name = "gossip"
action = "flag"
on = ["input"]
patterns = ["(?i)rumou?rs"]
"""


def rules(folder: Path, text: str = FILE) -> tuple[Rule, ...]:
    file = folder / "rules.toml"
    file.write_text(text, "utf-8")
    return read_rules(file)


def found(rule: Rule, text: str) -> list[str]:
    return [text[start:end] for start, end in rule.spans(text)]


def test_a_file_says_what_is_looked_for_where(tmp_path: Path) -> None:
    policy = ContentPolicy(rules(tmp_path))
    assert [(rule.name, rule.action) for rule in policy.of_side("input")] == [("project", "block"), ("gossip", "flag")]
    assert [rule.name for rule in policy.of_side("output")] == ["project", "ticket"]


def test_words_stand_alone_in_any_case(tmp_path: Path) -> None:
    rule = rules(tmp_path)[0]
    text = "ZEUS, zeus's zeusian amadeuszeus Zeus_ (c++) c++x BÖSE böser"
    assert found(rule, text) == ["ZEUS", "zeus", "c++", "c++", "BÖSE"]


def test_places_are_of_characters_not_of_bytes(tmp_path: Path) -> None:
    assert found(rules(tmp_path)[1], "éé T-1234 ☃ T-5678é T-9") == ["T-1234", "T-5678"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "cannot be read as TOML"),
        ("other = 1", r"tables \[\[rule\]\]"),
        ('[[rule]]\nname = "a"\naction = "block"\nwrods = ["a"]', "rule 'a': 'wrods' is not known; choose from"),
        ('[[rule]]\nname = "A b"\naction = "block"\nwords = ["a"]', "its name must be"),
        ('[[rule]]\nname = "guard/x"\naction = "block"\nwords = ["a"]', "not begin with"),
        ('[[rule]]\nname = "a"\naction = "drop"\nwords = ["a"]', "block, redact, flag"),
        ('[[rule]]\nname = "a"\naction = "flag"\non = ["in"]\nwords = ["a"]', "input and output"),
        ('[[rule]]\nname = "a"\naction = "flag"', "looks for nothing"),
        ('[[rule]]\nname = "a"\naction = "flag"\nwords = [""]', "`words` must be a list of texts"),
        ('[[rule]]\nname = "a"\naction = "flag"\npatterns = "a"', "`patterns` must be a list"),
        ('[[rule]]\nname = "a"\naction = "flag"\npatterns = ["(a"]', r"missing \): \(a.*RE2's syntax"),
        ("[[rule]]\nname = 'a'\naction = 'flag'\npatterns = ['(a)\\1']", "without lookaround and back-references"),
        ('[[rule]]\nname = "a"\naction = "flag"\npatterns = ["a*"]', "matches the empty text"),
        ('[[rule]]\nname = "a"\naction = "flag"\nwords = ["a"]\n' * 2, "another rule has this name"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as failure:
        rules(tmp_path, text)
    assert "rules.toml" in str(failure.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"none.toml: the rules cannot be read"):
        read_rules(tmp_path / "none.toml")


def test_patterns_that_other_engines_never_end_on_are_quick(tmp_path: Path) -> None:
    text = "[[rule]]\nname='a'\naction='block'\npatterns=['(x+x+)+y', '(a|a)*b', '^(([a-z])+.)+[A-Z]([a-z])+$']"
    (rule,) = rules(tmp_path, text)
    assert not rule.finds("x" * 50_000 + "a" * 50_000)


def test_the_engine_that_does_it_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    monkeypatch.setitem(sys.modules, "nh3", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bezel\[policy\]'"):
        rules(tmp_path)
    with pytest.raises(MissingExtraError, match=r"pip install 'bezel\[policy\]'"):
        ContentPolicy.of(PolicySettings(personal_data=("all",)))
    with pytest.raises(MissingExtraError, match=r"pip install 'bezel\[policy\]'"):
        ContentPolicy.of(PolicySettings(active_html="remove"))
    assert not ContentPolicy.of(PolicySettings()).looks_at_answers


def test_a_text_is_blocked_redacted_or_flagged(tmp_path: Path) -> None:
    policy, told = ContentPolicy(rules(tmp_path)), []

    def note(*what: str) -> None:
        told.append(what)

    assert policy.request_text("rumours and RUMORS of T-1234", note) == "rumours and RUMORS of T-1234"
    assert searched("T-1234T T-1234,T-2345", policy.rules, "output", note) == "T-1234T [ticket],[ticket]"
    assert told == [("gossip", "flag", "input"), ("ticket", "redact", "output")]
    with pytest.raises(ContentBlockedError):
        policy.request_text("of zeus", note)
    assert told[2:] == [("project", "block", "input")]


def test_a_disguise_is_seen_through(tmp_path: Path) -> None:
    policy = ContentPolicy(rules(tmp_path))
    for text in (
        "Z\u200be\u200bus",
        "\u0396eus",
        "&#90;eus",
        "%5A%65%75%73",
        "\uff3a\uff45\uff55\uff53",
        "\U0001d419eus",
    ):
        with pytest.raises(ContentBlockedError):
            policy.request_text(f"tell me of {text}", lambda *_: None)


def test_what_overlaps_becomes_one(tmp_path: Path) -> None:
    one = "[[rule]]\nname='one'\naction='redact'\npatterns=['abc', 'cde']\n"
    found = rules(tmp_path, one + "[[rule]]\nname='two'\naction='redact'\nwords=['f']\n")
    assert searched("xabcdef f", found, "input", lambda *_: None) == "x[one]f [two]"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hold_back_chars": 0}, "hold_back_chars"),
        ({"guard_every_chars": 0}, "guard_every_chars"),
        ({"guard_threshold": 0.0}, "guard_threshold"),
        ({"active_html": "strip"}, "keep, remove, block"),
        ({"personal_data_action": "hide"}, "block, redact, flag"),
        ({"personal_data": ("mail",)}, "choose of email, phone"),
    ],
)
def test_settings_that_cannot_be_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        PolicySettings(**options)  # type: ignore[arg-type]
