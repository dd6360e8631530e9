"""Recordings of any length are written down without a loss at the seams."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from bezel.errors import InvalidRequestError, UnfinishedSpeechError, UnsupportedInputError
from bezel.speech import check_into, write_down
from bezel.text.subtitles import Segment

RATE = 1000
WORD = 0.4  # seconds that a word takes


@dataclass
class Answer:
    text: str
    finish_reason: str = "stop"


class Ear:
    """Hears words by their loudness: each is a tone of its own level, and one that is cut in two is half a word."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.asked, self.lengths = words, [], []

    def recording(self, pauses: bool) -> np.ndarray:
        parts = []
        for number in range(len(self.words)):
            parts.append(np.full(round(WORD * RATE), 0.3 + number / 10_000, np.float32))
            if pauses and number % 20 == 19:
                parts.append(np.zeros(round(0.5 * RATE), np.float32))
        return np.concatenate(parts)

    def __call__(self, samples: np.ndarray, question: str) -> Answer:
        self.asked.append(question)
        self.lengths.append(len(samples) / RATE)
        heard = []
        spoken = np.where(samples > 0, np.round((samples - 0.3) * 10_000).astype(int), -1)
        edges = [0, *(np.flatnonzero(np.diff(spoken)) + 1), len(spoken)]
        for first, last in itertools.pairwise(edges):
            if spoken[first] >= 0:
                word = self.words[spoken[first]]
                whole = last - first >= WORD * RATE - 1
                heard.append(word if whole else word[: len(word) // 2] if first else word[len(word) // 2 :])
        return Answer(" ".join(heard))


WORDS = [f"word{number:03d}x" for number in range(240)]


@pytest.mark.parametrize("pauses", [True, False])
def test_nothing_is_lost_or_said_twice_in_95_seconds(pauses: bool) -> None:
    ear = Ear(WORDS)
    sound = ear.recording(pauses)
    assert len(sound) / RATE >= 95
    told: list[Segment] = []
    found = write_down(ear, sound, RATE, "it", listen=told.append)
    assert found.text.split() == WORDS
    assert len(told) == len(ear.asked) >= 4 and max(ear.lengths) <= 30
    assert found.duration == len(sound) / RATE and found.language == "it" and found.task == "transcribe"
    times = [edge for segment in found.segments for edge in (segment.start, segment.end)]
    assert times == sorted(times) and times[0] == 0 and times[-1] == pytest.approx(found.duration)


def test_31_seconds_are_two_pieces_and_30_are_one() -> None:
    for seconds, pieces in ((30, 1), (31, 2)):
        ear = Ear(WORDS)
        assert len(write_down(ear, ear.recording(False)[: seconds * RATE], RATE).text.split()) >= seconds / WORD - 1
        assert len(ear.asked) == pieces


def test_what_is_asked_names_the_languages() -> None:
    ear = Ear(WORDS)
    write_down(ear, ear.recording(False)[:RATE], RATE)
    write_down(ear, ear.recording(False)[:RATE], RATE, "pt")
    translated = write_down(ear, ear.recording(False)[:RATE], RATE, "Hungarian", into="es")
    assert "Transcribe" in ear.asked[0] and " in " not in ear.asked[0].partition(".")[0]
    assert " in Portuguese." in ear.asked[1]
    assert "Translate the following speech segment in Hungarian into Spanish." in ear.asked[2]
    assert translated.task == "translate" and translated.language == "es"


def test_nothing_to_hear_and_answers_without_end_are_errors() -> None:
    with pytest.raises(InvalidRequestError, match="no samples"):
        write_down(Ear([]), np.zeros(0, np.float32), RATE)
    with pytest.raises(InvalidRequestError, match="no numbers"):
        write_down(Ear([]), np.full(40 * RATE, np.nan, np.float32), RATE)
    for into in ("", " "):
        with pytest.raises(InvalidRequestError, match="name one"):
            write_down(Ear(WORDS), np.ones(RATE, np.float32), RATE, into=into)


@pytest.mark.parametrize("seconds", [29, 20, 15, 12.5])
@pytest.mark.parametrize("pauses", [True, False])
def test_a_piece_that_does_not_end_is_asked_for_in_shorter_ones(seconds: float, pauses: bool) -> None:
    ear = Ear(WORDS)
    sound = ear.recording(pauses)
    told: list[Segment] = []

    def lost_in_long_pieces(samples: np.ndarray, question: str) -> Answer:
        return ear(samples, question) if len(samples) < seconds * RATE else Answer("la " * 512, "length")

    found = write_down(lost_in_long_pieces, sound, RATE, listen=told.append)
    assert found.text.split() == WORDS
    assert found.duration == len(sound) / RATE
    for segments in (told, found.segments):
        times = [edge for segment in segments for edge in (segment.start, segment.end)]
        assert times == sorted(times)


def test_what_was_heard_before_the_model_lost_itself_is_kept() -> None:
    ear = Ear(WORDS)
    sound = ear.recording(True)

    def lost_later(samples: np.ndarray, question: str) -> Answer:
        return Answer("la " * 512, "length") if samples.max() > 0.315 else ear(samples, question)

    with pytest.raises(UnfinishedSpeechError, match=r"from \d+\.\d to \d+\.\d s did not end") as caught:
        write_down(lost_later, sound, RATE)
    kept = caught.value.heard.text.split()
    assert kept[:-1] == WORDS[: len(kept) - 1], "of the last word there may be half"
    assert len(kept) > 100


def test_where_nothing_sounds_nothing_is_asked() -> None:
    ear = Ear(WORDS)
    quiet = np.zeros(70 * RATE, np.float32)
    quiet[::2] = 1 / 32768  # the least bit of 16, as dither leaves it
    assert write_down(ear, quiet, RATE).segments == ()
    assert write_down(ear, ear.recording(False)[:20], RATE).text == "", "a fiftieth of a second holds no word"
    assert ear.asked == []


@pytest.mark.parametrize("into", ["en", "EN", "English", " english "])
def test_a_model_that_translates_into_english_alone(into: str) -> None:
    check_into(into, ("en",))
    check_into("Klingon", None)
    check_into(None, ("en",))
    with pytest.raises(UnsupportedInputError, match="into English only, not French"):
        check_into("fr", ("en",))
