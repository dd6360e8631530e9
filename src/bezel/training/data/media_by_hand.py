"""Loads the 50 charts and 50 recordings made by hand: frozen before anything was trained on their like, never learned.

A chart's look is what the generator takes; a recording is spoken by espeak-ng with the voice that it names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from bezel.errors import BezelError
from bezel.training.data.pictures.charts import Chart, Look
from bezel.training.data.speech.phrases import Phrase
from bezel.training.data.speech.voices import Voice


@dataclass(frozen=True)
class AskedChart:
    """A chart, and questions with what a right answer holds: {"label": ...}, {"value": ...} or {"trend": ...}."""

    chart: Chart
    questions: tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True)
class Spoken:
    """A phrase, the voice that says it, and how much quieter noise is, in dB (None: no noise)."""

    phrase: Phrase
    voice: Voice
    noise_db: float | None


def charts() -> list[AskedChart]:
    """In file order; BezelError names a line that cannot be read."""
    return [
        AskedChart(
            Chart(row["kind"], row["title"], tuple(row["labels"]), tuple(row["values"]), Look.from_json(row["look"])),
            tuple((question["ask"], question["expect"]) for question in row["questions"]),
        )
        for row in _rows("charts.jsonl", {"kind", "title", "labels", "values", "look", "questions"})
    ]


def recordings() -> list[Spoken]:
    """In file order; BezelError names a line that cannot be read."""
    return [
        Spoken(
            Phrase(row["language"], row["text"], row["english"]),
            Voice(row["voice"], row["speed"], row["pitch"]),
            row["noise_db"],
        )
        for row in _rows("recordings.jsonl", {"language", "text", "english", "voice", "speed", "pitch", "noise_db"})
    ]


def _rows(name: str, fields: set[str]) -> Iterator[dict[str, Any]]:
    text = resources.files("bezel").joinpath(f"tiny/{name}").read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BezelError(f"tiny/{name}, line {number}: {error}; reinstall bezel") from error
        if not isinstance(row, dict) or set(row) != fields:
            raise BezelError(f"tiny/{name}, line {number}: has other fields than {sorted(fields)}; reinstall bezel")
        yield row
