"""`bezel transcribe FILE` and `bezel translate FILE`: what is said in a recording."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from bezel.cli import options
from bezel.cli.commands import Argument, Option
from bezel.errors import UnfinishedSpeechError

if TYPE_CHECKING:
    from bezel.api import Model as Loaded
    from bezel.text.subtitles import Segment, Transcription

Recording = Annotated[str, Argument(help="WAV, FLAC, OGG or MP3; with bezel[av] also M4A, MP4 and WebM.")]
Model = Annotated[str, Option("--model", "-m", help="A model that hears.")]
Language = Annotated[str | None, Option(help="What is spoken: en, es, fr, it, pt, or another language's name.")]
Format = Annotated[str, Option("--format", help="text, json, verbose_json, srt or vtt.")]
HEARS = "google/gemma-3n-E2B-it"


def transcribe(
    recording: Recording,
    model: Model = HEARS,
    language: Language = None,
    form: Format = "text",
    level: options.Level = None,
    threads: options.Threads = None,
    mmproj: options.Mmproj = None,
) -> None:
    """Write down what is said in a recording."""

    def hear(loaded: Loaded) -> Transcription:
        return loaded.transcribe(recording, language, _progress)

    _write(recording, hear, form, model, level, threads, mmproj)


def translate(
    recording: Recording,
    model: Model = HEARS,
    to: Annotated[str, Option(help="The language to translate into.")] = "en",
    language: Language = None,
    form: Format = "text",
    level: options.Level = None,
    threads: options.Threads = None,
    mmproj: options.Mmproj = None,
) -> None:
    """Write down what is said in a recording, in another language."""

    def hear(loaded: Loaded) -> Transcription:
        return loaded.translate(recording, to, language, _progress)

    _write(recording, hear, form, model, level, threads, mmproj)


def _write(
    recording: str,
    hear: Callable[[Loaded], Transcription],
    form: str,
    model: str,
    level: str | None,
    threads: int | None,
    mmproj: str | None,
) -> None:
    from bezel.api import load
    from bezel.text.subtitles import check_format

    check_format(form)
    _check_recording(recording)
    chosen = options.given(mmproj=mmproj)
    try:
        heard = hear(load(model, level, threads=threads, sequences=1, **chosen))
    except UnfinishedSpeechError as error:
        _print(error.heard, form)  # what is said before is worth an hour of hearing
        raise
    _print(heard, form)


def _print(heard: Transcription, form: str) -> None:
    print(heard.write(form).rstrip("\n"))


def _check_recording(recording: str) -> None:
    """Raises MediaSourceError for what is no file, before a model is downloaded for it."""
    from pathlib import Path

    from bezel.media.fetching import Sources, fetch

    if not Path(recording).expanduser().is_file():
        fetch(recording, Sources(files=True))


def _progress(segment: Segment) -> None:
    """Tell on standard error how far it is, where somebody watches."""
    if sys.stderr.isatty():
        print(f"{segment.end:8.1f} s heard", file=sys.stderr)
