"""Recordings of any length in writing: cut at pauses, heard piece by piece, and joined with the times kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from bezel.errors import InvalidRequestError, UnfinishedSpeechError, UnsupportedInputError
from bezel.media.limits import Limits
from bezel.media.silences import Piece, Samples, pieces_of
from bezel.text.joining import seam
from bezel.text.subtitles import Segment, Transcription, spread

LANGUAGES = {"en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese"}
"""Those that the model was trained most for; others may be named too."""
RECORDINGS = Limits(bytes=1 << 30, audio_seconds=6 * 3600.0, seconds=600.0, memory=3 << 30)
"""For files of one's own: six hours, or an hour and a half of uncompressed stereo."""
MOST_TOKENS = 512
"""Of one piece's text: half a minute of fast speech has fewer than half of that."""
_OVERLAP = 2.0  # seconds that pieces share where nobody pauses
_SHORTEST_PIECE = 14.0  # seconds of what is asked again in parts, which are twice an overlap at least
_SHORTEST_WORD = 0.05  # seconds
_LEAST = 1 / 32768


class Heard(Protocol):
    """An answer to a question about a sound."""

    @property
    def text(self) -> str: ...

    @property
    def finish_reason(self) -> str: ...


Ask = Callable[[Samples, str], Heard]
"""Asks a model about samples."""


def write_down(
    ask: Ask,
    samples: Samples,
    rate: int,
    language: str | None = None,
    into: str | None = None,
    longest: float = 30.0,
    listen: Callable[[Segment], object] | None = None,
) -> Transcription:
    """What is said in `samples` [n] at `rate` Hz, in its own words or translated `into` a language.

    `language` is what is spoken, a code of LANGUAGES or a name; None leaves it to the model. `listen` is told of each
    piece of at most `longest` seconds as it is heard; pieces in which nothing sounds are not asked about. Where the
    text of a piece does not end, it is asked for again in shorter ones. Raises UnfinishedSpeechError, with what was
    heard, where that does not help, and InvalidRequestError for samples that are none or no numbers and for languages
    without a name.
    """
    if not len(samples):
        raise InvalidRequestError("the sound has no samples; send a recording")
    if not np.isfinite(samples).all():
        raise InvalidRequestError("the sound has samples that are no numbers (NaN or infinite); write it again")
    question = question_of(language, into)
    notes = _Notes("transcribe" if into is None else "translate", into or language or "", len(samples) / rate)
    waiting = deque(cut(samples, rate, longest))
    while waiting:
        piece = waiting.popleft()
        sound = samples[piece.first : piece.last]
        if _nothing(sound, rate):
            heard = ""
        else:
            answer = ask(sound, question)
            if answer.finish_reason == "length":
                waiting.extendleft(reversed(_shorter(piece, samples, rate, notes)))
                continue
            heard = answer.text.strip()
        segment = notes.add(piece, rate, heard)
        if listen is not None:
            listen(segment)
    return notes.transcription()


class _Notes:
    """What was heard so far."""

    def __init__(self, task: str, language: str, duration: float) -> None:
        self._task, self._language, self._duration = task, language.strip(), duration
        self._heard: list[Segment] = []

    def add(self, piece: Piece, rate: int, text: str) -> Segment:
        """Write down what a piece says beyond the one before."""
        start, end = piece.first / rate, piece.last / rate
        if piece.repeats and self._heard:
            before, text = seam(self._heard[-1].text, text)
            self._heard[-1] = replace(self._heard[-1], text=before)
            start = min(start + piece.repeats, end)
        self._heard.append(Segment(start, end, text))
        return self._heard[-1]

    def transcription(self) -> Transcription:
        segments = [part for piece in self._heard for part in spread(piece.start, piece.end, piece.text)]
        return Transcription(self._task, self._language, self._duration, tuple(segments))


def _nothing(sound: Samples, rate: int) -> bool:
    """Whether no word can be in it: it is over at once, or silent to the last bit of a 16-bit recording."""
    return len(sound) < _SHORTEST_WORD * rate or float(np.abs(sound).max()) <= _LEAST


def _shorter(piece: Piece, samples: Samples, rate: int, notes: _Notes) -> list[Piece]:
    """The piece in shorter ones. Raises UnfinishedSpeechError where it is short already."""
    seconds = (piece.last - piece.first) / rate
    if seconds < _SHORTEST_PIECE:
        raise UnfinishedSpeechError(
            f"what is said from {piece.first / rate:.1f} to {piece.last / rate:.1f} s did not end within the tokens of "
            "an answer (max_tokens): the model repeats itself, so try a larger one",
            notes.transcription(),
        )
    parts = pieces_of(samples[piece.first : piece.last], rate, seconds * 0.6, _OVERLAP)
    return [
        Piece(part.first + piece.first, part.last + piece.first, part.repeats if place else piece.repeats)
        for place, part in enumerate(parts)
    ]


def cut(samples: Samples, rate: int, longest: float) -> list[Piece]:
    """The pieces of at most `longest` seconds in which `write_down` asks."""
    return pieces_of(samples, rate, longest, min(_OVERLAP, longest / 8))


def question_of(language: str | None, into: str | None = None) -> str:
    """What a model is asked about a sound in `language`; both are as `write_down` takes them, and raise as it does."""
    spoken = "" if language is None else f" in {_name(language)}"
    if into is None:
        return f"Transcribe the following speech segment{spoken}. Write what is said, and nothing else."
    return (
        f"Translate the following speech segment{spoken} into {_name(into)}. Write the translation, and nothing else."
    )


def check_into(into: str | None, known: Sequence[str] | None) -> None:
    """Raises UnsupportedInputError for a language that is none of those `known` to a model (None: any)."""
    if into is None or known is None:
        return
    names = [LANGUAGES[code] for code in known]
    if _name(into).title() not in names:
        raise UnsupportedInputError(
            f"this model translates into {' and '.join(names)} only, not {_name(into)}; load a Gemma 3n, such as "
            "google/gemma-3n-E2B-it"
        )


def _name(language: str) -> str:
    told = language.strip()
    if not told:
        raise InvalidRequestError(f"a language is {language!r}; name one, as {', '.join(LANGUAGES)} or by its name")
    return LANGUAGES.get(told.lower(), told)
