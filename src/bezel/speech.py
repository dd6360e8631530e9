"""Recordings of any length in writing: cut at pauses, heard piece by piece, and joined with the times kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bezel.errors import InvalidRequestError
from bezel.media.silences import Piece, Samples, pieces_of
from bezel.text.joining import seam
from bezel.text.subtitles import Segment, Transcription, spread

LANGUAGES = {"en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese"}
"""Those that the model was trained most for; others may be named too."""
_OVERLAP = 2.0  # seconds that pieces share where nobody pauses
MOST_TOKENS = 512
"""Of one piece's text: half a minute of fast speech has fewer than half of that."""


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
    piece of at most `longest` seconds as it is heard. Raises InvalidRequestError for a sound without samples, and where
    a piece's text does not end.
    """
    if not len(samples):
        raise InvalidRequestError("the sound has no samples; send a recording")
    question = question_of(language, into)
    texts: list[str] = []
    times: list[tuple[float, float]] = []
    for piece in cut(samples, rate, longest):
        heard = ask(samples[piece.first : piece.last], question)
        start, end = piece.first / rate, piece.last / rate
        if heard.finish_reason == "length":
            raise InvalidRequestError(
                f"what is said from {start:.1f} to {end:.1f} s did not end within {MOST_TOKENS} tokens; the model "
                "repeats itself, so try a larger one"
            )
        text = heard.text.strip()
        if piece.repeats and texts:
            texts[-1], text = seam(texts[-1], text)
            start += piece.repeats
        texts.append(text)
        times.append((start, end))
        if listen is not None:
            listen(Segment(start, end, text))
    segments = [part for (start, end), text in zip(times, texts, strict=True) for part in spread(start, end, text)]
    told = (into or language or "").strip()
    return Transcription("translate" if into else "transcribe", told, len(samples) / rate, tuple(segments))


def cut(samples: Samples, rate: int, longest: float) -> list[Piece]:
    """The pieces of at most `longest` seconds in which `write_down` asks."""
    return pieces_of(samples, rate, longest, min(_OVERLAP, longest / 8))


def question_of(language: str | None, into: str | None = None) -> str:
    """What a model is asked about a sound in `language`; both are as `write_down` takes them."""
    spoken = f" in {_name(language)}" if language else ""
    if into is None:
        return f"Transcribe the following speech segment{spoken}. Write what is said, and nothing else."
    return (
        f"Translate the following speech segment{spoken} into {_name(into)}. Write the translation, and nothing else."
    )


def _name(language: str) -> str:
    return LANGUAGES.get(language.strip().lower(), language.strip())
