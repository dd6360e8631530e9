"""Scores of the small models that see and hear: charts, printed text, and speech in five languages."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bezel.media.spectrograms import Sound
from bezel.speech import question_of
from bezel.training.data import media_by_hand
from bezel.training.data.pictures import asking, printed
from bezel.training.data.pictures.charts import draw
from bezel.training.data.speech import phrases, rooms, voices
from bezel.training.data.speech.phrases import Phrase
from bezel.training.evaluation import SEED, Score
from bezel.training.scores import characters_right, spoken_form, word_errors

if TYPE_CHECKING:
    from PIL.Image import Image

AskPicture = Callable[["Image", str], str]
AskSound = Callable[[Sound, str], str]
"""Answers one question about a picture, or a sound of 16 kHz, greedily."""

WITHIN = 0.10


def near(answer: str, value: float) -> bool:
    """Whether the first number of an answer is within a tenth of the value."""
    found = re.search(r"-?\d+(?:\.\d+)?", answer.replace(",", ""))
    return found is not None and abs(float(found[0]) - value) <= WITHIN * abs(value)


def is_right(answer: str, expect: dict[str, Any]) -> bool:
    """Whether it is the label or the trend, whatever its case and the full stop behind it, or near the value."""
    if "value" in expect:
        return near(answer, expect["value"])
    wanted = expect["label"] if "label" in expect else expect["trend"]
    return answer.strip().rstrip(".").lower() == str(wanted).lower()


def evaluate_pictures(ask: AskPicture, count: int = 200) -> Iterator[Score]:
    """`count` questions about charts in unseen looks and wordings, as many printed texts, and the charts by hand."""
    rng = random.Random(SEED)
    right: dict[str, list[bool]] = defaultdict(list)
    for _ in range(count):
        seen = asking.sample(rng, "held_out")
        asked = rng.choice(seen.asked)
        kind = {"trend": "trend", "value": "value"}.get(asked.task, "label")
        expect = {kind: float(asked.answer) if kind == "value" else asked.answer}
        right[asked.task].append(is_right(ask(seen.drawn.image, asked.question), expect))
    all_of = [good for found in right.values() for good in found]
    yield Score("charts, unseen looks and wordings", sum(all_of), len(all_of), 0.85)
    for task, found in sorted(right.items()):
        yield Score(f"charts: {task}", sum(found), len(found))
    yield _printed(ask, count)
    by_hand = [
        is_right(ask(draw(each.chart).image, question), expect)
        for each in media_by_hand.charts()
        for question, expect in each.questions
    ]
    yield Score("by hand: charts", sum(by_hand), len(by_hand))


def _printed(ask: AskPicture, count: int) -> Score:
    rng, right, total = random.Random(SEED + 1), 0, 0
    for _ in range(count):
        seen = printed.sample(rng, "held_out")
        good, characters = characters_right(ask(seen.drawn.image, seen.asked[0].question), seen.asked[0].answer)
        right, total = right + good, total + characters
    return Score("printed text, characters", right, total, 0.90)


def evaluate_sounds(ask: AskSound, count: int = 200) -> Iterator[Score]:
    """`count` phrases by unseen voices, written down and translated, and the recordings by hand.

    Words are those right of all: what the word error rate leaves of one. BezelError where espeak-ng is missing.
    """
    rng = random.Random(SEED)
    drawn = []
    for number in range(count):
        phrase = phrases.sample(rng, "held_out", phrases.LANGUAGES[number % len(phrases.LANGUAGES)])
        sound = voices.speak(phrase.text, voices.choose(rng, "held_out", phrase.language))
        drawn.append((rooms.recorded(sound, np.random.default_rng(number)), phrase))
    yield from _heard(ask, drawn, "unseen voices", 0.80, 0.70)
    by_hand = []
    for number, spoken in enumerate(media_by_hand.recordings()):
        sound = voices.speak(spoken.phrase.text, spoken.voice)
        if spoken.noise_db is not None:
            sound = rooms.with_noise(sound, spoken.noise_db, np.random.default_rng(number))
        by_hand.append((sound, spoken.phrase))
    yield from _heard(ask, by_hand, "by hand", None, None)


def _heard(
    ask: AskSound, drawn: list[tuple[Sound, Phrase]], name: str, words_target: float | None, target: float | None
) -> Iterator[Score]:
    right: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    exact = 0
    for sound, phrase in drawn:
        errors, words = word_errors(ask(sound, question_of(phrase.language)), phrase.text)
        right[phrase.language] += max(0, words - errors)
        total[phrase.language] += words
        exact += spoken_form(ask(sound, question_of(phrase.language, "en"))) == spoken_form(phrase.english)
    yield Score(f"speech, {name}: words", sum(right.values()), sum(total.values()), words_target)
    for language in sorted(total):
        yield Score(f"speech, {name}: words, {language}", right[language], total[language])
    yield Score(f"translation, {name}: exact", exact, len(drawn), target)
