"""What was said and when: segments as JSON, SubRip and WebVTT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bezel.errors import InvalidRequestError
from bezel.text.joining import joined, sentences

FORMATS = ("text", "json", "verbose_json", "srt", "vtt")


def check_format(form: str) -> None:
    """Raises InvalidRequestError unless `form` is one of FORMATS."""
    if form not in FORMATS:
        raise InvalidRequestError(f"unknown format {form!r}; choose one of {', '.join(FORMATS)}")


@dataclass(frozen=True)
class Segment:
    """`text` that was said between two times, in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcription:
    """A whole recording: what was asked for (transcribe, translate), its language, seconds, and text by segments."""

    task: str
    language: str
    duration: float
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return joined(segment.text for segment in self.segments)

    def write(self, form: str) -> str:
        """As one of FORMATS (OpenAI's `response_format`). Raises InvalidRequestError for others."""
        check_format(form)
        if form == "text":
            return self.text + "\n"
        if form == "json":
            return json.dumps({"text": self.text}, ensure_ascii=False)
        if form == "verbose_json":
            return json.dumps(self._record(), ensure_ascii=False)
        if form == "srt":
            return "".join(f"{number}\n{times}\n{text}\n\n" for number, times, text in self._cues(","))
        return "WEBVTT\n\n" + "".join(f"{times}\n{_escaped(text)}\n\n" for _, times, text in self._cues("."))

    def _record(self) -> dict[str, object]:
        segments = [
            {"id": number, "start": round(segment.start, 3), "end": round(segment.end, 3), "text": segment.text}
            for number, segment in enumerate(self.segments)
        ]
        return {
            "task": self.task,
            "language": self.language,
            "duration": round(self.duration, 3),
            "text": self.text,
            "segments": segments,
        }

    def _cues(self, point: str) -> Sequence[tuple[int, str, str]]:
        told = [segment for segment in self.segments if segment.text]
        return [  # an empty line would end a cue
            (number, f"{_clock(segment.start, point)} --> {_clock(segment.end, point)}", " ".join(segment.text.split()))
            for number, segment in enumerate(told, start=1)
        ]


def spread(start: float, end: float, text: str) -> list[Segment]:
    """The sentences of what was said between two times, each for as long as its share of the letters."""
    parts = sentences(text)
    letters = sum(map(len, parts))
    found, at = [], start
    for part in parts:
        until = at + (end - start) * len(part) / letters
        found.append(Segment(at, until, part))
        at = until
    return found


def _clock(seconds: float, point: str) -> str:
    """00:00:00 and milliseconds behind `point`."""
    milliseconds = max(0, round(seconds * 1000))
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escaped(text: str) -> str:
    """WebVTT reads tags and entities in cues, and "-->" as a time."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
