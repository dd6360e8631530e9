"""The scores of pictures and sounds count what they say they count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bezel.errors import BezelError
from bezel.training import media_evaluation
from bezel.training.data import media_by_hand
from bezel.training.data.pictures import asking, printed
from bezel.training.data.speech import phrases, voices
from bezel.training.media_evaluation import evaluate_pictures, evaluate_sounds, is_right


@pytest.mark.parametrize(
    ("answer", "expect", "right"),
    [
        ("Oslo", {"label": "Oslo"}, True),
        ("oslo.", {"label": "Oslo"}, True),
        ("Oslo and Rome", {"label": "Oslo"}, False),
        ("", {"label": "Oslo"}, False),
        ("rising", {"trend": "rising"}, True),
        ("falling", {"trend": "rising"}, False),
        ("110", {"value": 100}, True),
        ("111", {"value": 100}, False),
        ("about 1,200 steps", {"value": 1250}, True),
        ("none", {"value": 100}, False),
        ("0", {"value": 0}, True),
    ],
)
def test_an_answer_is_right_or_wrong(answer: str, expect: dict[str, Any], right: bool) -> None:
    assert is_right(answer, expect) == right


def remembering(monkeypatch: pytest.MonkeyPatch, module: Any, answers: dict[str, str]) -> None:
    """Keeps the answers to what a generator asked last."""
    sample: Callable[..., Any] = module.sample

    def kept(*given: Any) -> Any:
        seen = sample(*given)
        answers.update({asked.question: asked.answer for asked in seen.asked})
        return seen

    monkeypatch.setattr(module, "sample", kept)


def test_pictures_right_answers_score_all_and_silence_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, str] = {}
    remembering(monkeypatch, asking, answers)
    remembering(monkeypatch, printed, answers)
    for chart in media_by_hand.charts():
        for question, expect in chart.questions:
            answers[question] = str(next(iter(expect.values())))
    by_hand = [question for chart in media_by_hand.charts() for question, _ in chart.questions]
    repeated = {question for question in by_hand if by_hand.count(question) > 1}
    scores = {score.name: score for score in evaluate_pictures(lambda _, question: answers[question], 12)}
    assert all(s.right == s.total for name, s in scores.items() if name != "by hand: charts")
    assert scores["by hand: charts"].right >= 100 - 2 * len(repeated) and scores["by hand: charts"].total == 100
    assert scores["charts, unseen looks and wordings"].total == 12
    assert scores["printed text, characters"].total > 60
    assert {s.target for s in scores.values()} == {0.85, 0.90, None}
    assert not any(score.right for score in evaluate_pictures(lambda *_: "", 5))


def test_sounds_right_answers_score_all_and_half_of_the_words_half(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[bytes, phrases.Phrase] = {}
    last: list[phrases.Phrase] = []
    sample = phrases.sample

    def kept(*given: Any) -> phrases.Phrase:
        last.append(sample(*given))
        return last[-1]

    def spoken(text: str, voice: voices.Voice) -> np.ndarray:
        assert any(voice.name.endswith(variant) for variant in voices.VARIANTS["held_out"])
        known = [phrase for phrase in last + [r.phrase for r in media_by_hand.recordings()] if phrase.text == text]
        sound = np.random.default_rng(len(said)).normal(0, 0.1, 4000).astype(np.float32)
        said[sound.tobytes()] = known[0]
        return sound

    monkeypatch.setattr(phrases, "sample", kept)
    monkeypatch.setattr(voices, "speak", spoken)
    monkeypatch.setattr(media_evaluation.rooms, "recorded", lambda sound, _: sound)
    monkeypatch.setattr(media_evaluation.rooms, "with_noise", lambda sound, *_: sound)

    def right(sound: np.ndarray, question: str) -> str:
        phrase = said[sound.tobytes()]
        return phrase.english.upper() if question.startswith("Translate") else phrase.text.lower()

    def doubled(sound: np.ndarray, question: str) -> str:
        return "x " + right(sound, question)

    scores = {score.name: score for score in evaluate_sounds(right, 10)}
    assert all(score.right == score.total for score in scores.values())
    assert scores["translation, by hand: exact"].total == 50
    assert scores["speech, unseen voices: words"].target == 0.8
    wrong = {score.name: score for score in evaluate_sounds(doubled, 10)}
    assert wrong["speech, by hand: words"].total - wrong["speech, by hand: words"].right == 50
    assert wrong["translation, unseen voices: exact"].right == 0


def test_lines_by_hand_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def joinpath(self, name: str) -> Broken:
            return self

        def read_text(self, encoding: str) -> str:
            return '{"language":"en"}\n'

    monkeypatch.setattr(media_by_hand.resources, "files", lambda _: Broken())
    with pytest.raises(BezelError, match=r"recordings.jsonl, line 1: .* reinstall"):
        media_by_hand.recordings()
