"""What a person would not see is taken out and reported; what belongs to a script stays."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.service.errors import ApiError
from bezel.service.input_policy import InputPolicy


def changed(text: str) -> tuple[str, list[str]]:
    policy = InputPolicy(1000)
    return policy.text(text), list(policy.changes)


@pytest.mark.parametrize(
    "text",
    [
        "plain\ttext\r\nwith lines\u00a0and spaces",
        "ನ್\u200dಯ ಕ್\u200cಷ",
        "می\u200cخواهم",
        "క్\u200cష",
        "ශ්\u200dරී",
        "👩\u200d🚀 👩🏽\u200d🚀 🏴\u200d☠\ufe0f ❤\ufe0f\u200d🔥",
        "葛\U000e0100城",
        "\u0600 \u06dd",
        "İstanbul Straße ﷺ ½ Ａ",
    ],
)
def test_what_belongs_there_stays(text: str) -> None:
    assert changed(text) == (unicodedata.normalize("NFC", text), [])


@pytest.mark.parametrize(
    ("text", "seen", "change"),
    [
        ("a\u200bb", "ab", "invisible characters removed"),
        ("a\u200db", "ab", "invisible characters removed"),
        ("a\ufe0f\u200db", "a\ufe0fb", "invisible characters removed"),
        ("\u200da", "a", "invisible characters removed"),
        ("a\u00adb\ufeff", "ab", "invisible characters removed"),
        ("a\U000e0068\U000e0069", "a", "invisible characters removed"),
        ("a\U000e0101\U000e0102", "a", "invisible characters removed"),
        ("a\u202eb\u2066c\u200f", "abc", "direction marks removed"),
        ("a\x00b\x1b[31m\x7f\x85", "ab[31m", "control characters removed"),
        ("e\u0301", "é", "unicode normalised"),
    ],
)
def test_what_hides_is_removed(text: str, seen: str, change: str) -> None:
    assert changed(text) == (seen, [change])


@given(st.text())
def test_a_second_time_changes_nothing(text: str) -> None:
    once, _ = changed(text)
    again, changes = changed(once)
    assert again == once or changes == ["invisible characters removed"]
    assert changed(again)[1] == [] or again != once


def test_a_pile_of_marks_takes_no_time_and_keeps_them_all() -> None:
    marks = "\u0301\u0316" * 50_000
    began = time.process_time()
    policy = InputPolicy(200_000)
    seen = policy.text(f"a{marks}")
    assert time.process_time() - began < 5, "a bound that only a wrong order of growth breaks"
    assert seen.count("\u0316") == 50_000 and list(policy.changes) == ["unicode normalised"]


def test_all_texts_count_together() -> None:
    policy = InputPolicy(10)
    policy.messages(
        [{"role": "user", "content": "12345"}, {"role": "user", "content": [{"type": "text", "text": "123"}]}]
    )
    policy.tools([{"type": "function", "function": {"name": "long_name_of_a_tool", "description": "12"}}])
    with pytest.raises(ApiError) as failure:
        policy.text("1")
    assert failure.value.name == "too_much_text" and "10 characters" in failure.value.detail


def test_every_text_of_a_chat_is_looked_at_and_nothing_else() -> None:
    policy = InputPolicy(1000)
    image = {"type": "image_url", "image_url": {"url": "data:\u200b"}}
    call = {"id": "\u200b", "function": {"name": "f", "arguments": '{"a": "\u200b"}'}}
    messages = [
        {"role": "system", "content": "a\u200b"},
        {"role": "user", "content": [{"type": "text", "text": "b\u200b"}, image]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "\u200b", "content": "c\u200b"},
    ]
    assert policy.messages(messages) == [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "\u200b", "content": "c"},
    ]
    nested = {"type": "object", "properties": {"x": {"description": "d\u200b", "enum": ["e\u200b"]}}}
    tool = {"type": "function", "function": {"name": "f", "description": "g\u200b", "parameters": nested}}
    (seen,) = policy.tools([tool])
    assert seen["function"]["description"] == "g"
    assert seen["function"]["parameters"]["properties"]["x"] == {"description": "d", "enum": ["e\u200b"]}
