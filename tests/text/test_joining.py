"""Transcripts of pieces become one, and are written as subtitles."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError
from bezel.text.joining import joined, seam, sentences
from bezel.text.subtitles import Segment, Transcription, spread


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [
        ("the cat sat on", "sat on the mat", "the cat sat on the mat"),
        ("The cat sat on,", "on. The mat", "The cat sat on, The mat"),
        ("we went to the sea and swa", "to the sea and swam far", "we went to the sea and swam far"),
        ("we went to the sea and", "nt to the sea and swam", "we went to the sea and swam"),
        ("nothing alike", "at all", "nothing alike at all"),
        ("ça va bien", "Va bien, merci", "ça va bien merci"),
        ("a b a b", "a b a b c", "a b a b c"),
        ("", "only this", "only this"),
        ("only this", "", "only this"),
        ("half wor", "word again", "half wor word again"),
        ("今天天气很好我们去公园散步", "公园散步，然后回家。", "今天天气很好我们去公园散步 ，然后回家。"),
        ("散歩に行きました。", "行きました。それから", "散歩に行きました。 それから"),
        ("谢谢妈", "妈很好", "谢谢妈 妈很好"),
        ("ไปเดินเล่นที่สวน", "เล่นที่สวน แล้วกลับบ้าน", "ไปเดินเล่นที่สวน แล้วกลับบ้าน"),
    ],
)
def test_what_both_pieces_heard_stands_once(before: str, after: str, whole: str) -> None:
    assert " ".join(filter(None, seam(before, after))) == whole


@given(st.lists(st.sampled_from([f"w{n}" for n in range(400)]), min_size=4, max_size=40, unique=True), st.data())
def test_known_text_survives_the_seam(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(1, len(words) - 2))
    last = data.draw(st.integers(first + 1, min(len(words), first + 20)))
    assert " ".join(filter(None, seam(" ".join(words[:last]), " ".join(words[first:])))) == " ".join(words)


def test_sentences_are_spread_over_their_time() -> None:
    assert sentences("One. Two three! ¿Qué? No end") == ["One.", "Two three!", "¿Qué?", "No end"]
    assert sentences("今天很好。我们去！「好吗？」他说。") == ["今天很好。", "我们去！", "「好吗？」他说。"]
    assert sentences("नमस्ते। कैसे हो? One\n\ntwo") == ["नमस्ते।", "कैसे हो?", "One", "two"]
    for text in (
        "会议2点开始。2个人来了。",
        "他说。“好。”AI来了。",
        '他说"好。"然后走了。',
        "我爱你。😀再见。",
        "好。】然后",
        "One. Two 3.5!",
    ):
        assert joined(sentences(text)) == text
    assert joined(["今天很好。", "", "我们去", "home", "now"]) == "今天很好。我们去 home now"
    parts = spread(10, 20, "abcd. efgh.")
    assert parts == [Segment(10, 15, "abcd."), Segment(15, 20, "efgh.")]
    assert spread(0, 1, "  ") == []


WHOLE = Transcription(
    "transcribe",
    "en",
    3700.5,
    (Segment(0, 1.25, "Hi <b> & --> you."), Segment(2, 3, ""), Segment(3661.0, 3700.4996, "Bye.")),
)


def test_every_format() -> None:
    assert WHOLE.write("text") == "Hi <b> & --> you. Bye.\n"
    assert json.loads(WHOLE.write("json")) == {"text": "Hi <b> & --> you. Bye."}
    record = json.loads(WHOLE.write("verbose_json"))
    assert record["task"] == "transcribe" and record["language"] == "en" and record["duration"] == 3700.5
    assert record["segments"][2] == {"id": 2, "start": 3661.0, "end": 3700.5, "text": "Bye."}
    assert WHOLE.write("srt") == (
        "1\n00:00:00,000 --> 00:00:01,250\nHi <b> & --> you.\n\n2\n01:01:01,000 --> 01:01:40,500\nBye.\n\n"
    )
    assert WHOLE.write("vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nHi &lt;b&gt; &amp; --&gt; you.\n\n"
        "01:01:01.000 --> 01:01:40.500\nBye.\n\n"
    )
    lines = Transcription("transcribe", "en", 5.0, (Segment(0, 5, "One\n\n2\n00:00:01,000 --> 00:00:02,000\ntwo"),))
    assert lines.write("srt").count("\n\n") == lines.write("vtt").count("\n\n") - 1 == 1
    with pytest.raises(InvalidRequestError, match="unknown format 'ass'; choose one of text, json"):
        WHOLE.write("ass")
