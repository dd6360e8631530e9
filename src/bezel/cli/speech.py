"""`bezel transcribe FILE` and `bezel translate FILE`: what is said in a recording."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from bezel.cli import options
from bezel.cli.commands import Argument, Option

if TYPE_CHECKING:
    from bezel.text.subtitles import Segment, Transcription

Recording = Annotated[Path, Argument(help="WAV, FLAC, OGG or MP3; with bezel[av] also M4A, MP4 and WebM.")]
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
    _write(form, model, level, threads, mmproj, lambda loaded: loaded.transcribe(recording, language, _progress))


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
    _write(form, model, level, threads, mmproj, lambda loaded: loaded.translate(recording, to, language, _progress))


def _write(form: str, model: str, level: str | None, threads: int | None, mmproj: str | None, hear: Any) -> None:
    from bezel.api import load
    from bezel.text.subtitles import check_format

    check_format(form)
    chosen = options.given(mmproj=mmproj)
    heard: Transcription = hear(load(model, level, threads=threads, sequences=1, **chosen))
    print(heard.write(form).rstrip("\n"))


def _progress(segment: Segment) -> None:
    """Tell on standard error how far it is, where somebody watches."""
    if sys.stderr.isatty():
        print(f"{segment.end:8.1f} s heard", file=sys.stderr)
