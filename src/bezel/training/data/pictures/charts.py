"""Charts: what is on one, how it looks, and drawing it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from bezel.errors import BezelError
from bezel.training.data.pictures.canvas import Canvas, Drawn, Meaning, Rank, length
from bezel.training.data.pictures.fonts import BUILT_IN

Kind = Literal["bar", "line", "pie"]
SMALLEST = 8  # pixels of a letter that can be read
PALETTE = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")


@dataclass(frozen=True)
class Look:
    """How a chart looks. `printed`: values are written at their places; `zero`: a line's axis begins at 0.

    `legend`: colours are explained at the side instead of labels at the places. Sizes are in pixels, `gap` and
    `width_of_line` as well; `turn` is where a pie begins, in degrees.
    """

    width: int = 256
    height: int = 256
    face: str = BUILT_IN
    size: int = 12
    palette: tuple[str, ...] = PALETTE
    horizontal: bool = False
    grid: bool = False
    printed: bool = False
    legend: bool = False
    dark: bool = False
    zero: bool = True
    dots: bool = True
    gap: float = 0.3
    thickness: float = 2.0
    turn: int = -90

    @property
    def ink(self) -> str:
        return "#e6e6e6" if self.dark else "#222222"

    @property
    def paper(self) -> str:
        return "#1e2430" if self.dark else "#ffffff"

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Look:
        """What `row` names; BezelError for a name that is none."""
        unknown = set(row) - {field.name for field in fields(cls)}
        if unknown:
            raise BezelError(f"a chart's look has no {sorted(unknown)[0]!r}")
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
        return cls(**given)


@dataclass(frozen=True)
class Chart:
    """A chart of one series; a pie's values are percentages."""

    kind: Kind
    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    look: Look = Look()


def draw(chart: Chart) -> Drawn:
    """The chart as a picture of its look's size."""
    look = chart.look
    canvas = Canvas(look.width, look.height, look.paper)
    top = 6.0
    if chart.title:
        size = fitting([chart.title], look.face, look.size + 2, look.width - 8)
        canvas.text(look.width / 2, 4, chart.title, look.face, size, look.ink, "mt")
        top += size + 6
    right = look.width - 8.0
    if look.legend:
        right -= _legend(canvas, chart, top)
    if chart.kind == "pie":
        _pie(canvas, chart, top, right)
    elif chart.kind == "bar" and look.horizontal:
        _lying_bars(canvas, chart, top, right)
    else:
        _upright(canvas, chart, top, right)
    return canvas.finished()


def fitting(texts: Sequence[str], face: str, size: int, width: float) -> int:
    """The largest size, `size` at most and SMALLEST at least, at which every text is narrower than `width`."""
    while size > SMALLEST and max(length(text, face, size) for text in texts) > width:
        size -= 1
    return size


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from at most `low` to at least `high`."""
    span = high - low or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    step = next(step for step in (power * f for f in (0.2, 0.25, 0.5, 1.0, 2.0)) if span / step <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 6) for i in range(first, last + 1)]


def written(value: float) -> str:
    """A number as it stands on a chart: 7, 2.5, 1200."""
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0f}"


def _colour(chart: Chart, index: int) -> str:
    """A bar's is its own only where that says something."""
    palette = chart.look.palette
    several = chart.kind == "pie" or chart.look.legend or len(palette) >= len(chart.labels)
    return palette[index % len(palette)] if several else palette[0]


def _legend(canvas: Canvas, chart: Chart, top: float) -> float:
    """Coloured squares with labels along the right side; how wide they are."""
    look = chart.look
    size = fitting(chart.labels, look.face, look.size, look.width * 0.3)
    wide = max(length(label, look.face, size) for label in chart.labels) + size + 8
    meanings = [replace(meaning, legend=True) for meaning in _meanings(chart)]
    for index, (label, meaning) in enumerate(zip(chart.labels, meanings, strict=True)):
        y = top + 14 + index * (size + 7)
        left = look.width - wide - 4
        canvas.rectangle(left, y - size / 2 + 1, left + size - 2, y + size / 2 - 1, _colour(chart, index))
        canvas.mark(left + size / 2, y, meaning)
        canvas.text(left + size + 3, y, label, look.face, size, look.ink, "lm", meaning)
    return wide


def _pie(canvas: Canvas, chart: Chart, top: float, right: float) -> None:
    look = chart.look
    outside = not look.legend
    side = max(length(label, look.face, look.size) for label in chart.labels) + 6 if outside else 6
    middle = (8 + right) / 2, (top + look.height - 8) / 2
    radius = min((right - 8) / 2 - side, (look.height - 8 - top) / 2 - (look.size + 4 if outside else 2))
    radius = max(radius, look.width * 0.16)
    start, total, meanings = float(look.turn), sum(chart.values), _meanings(chart)
    for index, (label, value) in enumerate(zip(chart.labels, chart.values, strict=True)):
        end = start + 360 * value / total
        canvas.wedge(*middle, radius, start, end, _colour(chart, index), look.paper)
        for degrees in range(round(start) + 5, round(end) - 4, 10):
            x, y = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            for share in (0.35, 0.6, 0.85):
                canvas.mark(middle[0] + share * radius * x, middle[1] + share * radius * y, meanings[index])
        angle = math.radians((start + end) / 2)
        x, y = math.cos(angle), math.sin(angle)
        if outside:
            place = middle[0] + (radius + 5) * x, middle[1] + (radius + 4 + look.size / 2) * y
            anchor = "mm" if abs(x) < 0.25 else "lm" if x > 0 else "rm"
            canvas.text(*place, label, look.face, look.size, look.ink, anchor, meanings[index])
        if look.printed:
            inner = middle[0] + 0.66 * radius * x, middle[1] + 0.66 * radius * y
            ink = _contrast(_colour(chart, index))
            canvas.text(*inner, f"{written(value)}%", look.face, look.size - 1, ink, meaning=meanings[index])
        start = end


def _contrast(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#111111" if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else "#ffffff"


def _scale(chart: Chart) -> list[float]:
    low = 0.0 if chart.look.zero or chart.kind == "bar" else min(chart.values)
    return ticks(low, max(chart.values))


def _meanings(chart: Chart) -> list[Meaning]:
    """What each label stands for, and each bar, slice or point."""
    least, most = min(chart.values), max(chart.values)

    def rank(value: float) -> Rank:
        return "lowest" if value == least else "highest" if value == most else "between"

    if chart.kind == "pie":
        return [Meaning(value, value / sum(chart.values), rank(value)) for value in chart.values]
    return [replace(_meaning_of_mark(chart, value), rank=rank(value)) for value in chart.values]


def _meaning_of_mark(chart: Chart, value: float) -> Meaning:
    low, *_, high = _scale(chart)
    return Meaning(value, (value - low) / (high - low), end=high)


def _faint(look: Look) -> str:
    return "#3c4557" if look.dark else "#dcdcdc"


def _upright(canvas: Canvas, chart: Chart, top: float, right: float) -> None:
    """Bars that stand, or a line: values go up."""
    look, marks = chart.look, _scale(chart)
    left = max(length(written(mark), look.face, look.size - 1) for mark in marks) + 9
    bottom = look.height - (look.size + 9.0 if _labelled(chart) else 8)
    top += look.size + (0 if chart.kind == "bar" else 4) if look.printed else 2
    step = (right - left) / len(chart.labels)

    def height(value: float) -> float:
        return bottom - (value - marks[0]) / (marks[-1] - marks[0]) * (bottom - top)

    for mark in marks:
        if look.grid:
            canvas.line([(left, height(mark)), (right, height(mark))], _faint(look), 0.7)
        canvas.line([(left - 3, height(mark)), (left, height(mark))], look.ink, 0.7)
        meant = _meaning_of_mark(chart, mark)
        canvas.text(left - 5, height(mark), written(mark), look.face, look.size - 1, look.ink, "rm", meant)
    places, meanings = [left + step * (index + 0.5) for index in range(len(chart.labels))], _meanings(chart)
    if chart.kind == "bar":
        half = step * (1 - look.gap) / 2
        for index, (x, value) in enumerate(zip(places, chart.values, strict=True)):
            canvas.rectangle(x - half, height(value), x + half, bottom, _colour(chart, index))
            canvas.mark_all(x - half, height(value), x + half, bottom, meanings[index])
    else:
        points = [(x, height(value)) for x, value in zip(places, chart.values, strict=True)]
        canvas.line(points, look.palette[0], look.thickness)
        if look.dots:
            for x, y in points:
                canvas.disc(x, y, look.thickness + 1.2, look.palette[0])
        for (x, y), meaning in zip(points, meanings, strict=True):
            canvas.mark_all(x, y, x, bottom, meaning)
    if look.printed:
        size = fitting([written(value) for value in chart.values], look.face, look.size - 1, step - 2)
        for x, value, meaning in zip(places, chart.values, meanings, strict=True):
            above = size / 2 + (3 if chart.kind == "bar" else 7)
            canvas.text(x, height(value) - above, written(value), look.face, size, look.ink, meaning=meaning)
    canvas.line([(left, top - 2), (left, bottom), (right, bottom)], look.ink)
    if _labelled(chart):
        size = fitting(chart.labels, look.face, look.size, step - 2)
        for x, label, meaning in zip(places, chart.labels, meanings, strict=True):
            canvas.text(x, bottom + 4, label, look.face, size, look.ink, "mt", meaning)


def _labelled(chart: Chart) -> bool:
    return not (chart.look.legend and chart.kind == "bar")


def _lying_bars(canvas: Canvas, chart: Chart, top: float, right: float) -> None:
    """Bars from left to right."""
    look, marks = chart.look, _scale(chart)
    size = fitting(chart.labels, look.face, look.size, look.width * 0.32)
    left = max(length(label, look.face, size) for label in chart.labels) + 9 if _labelled(chart) else 10.0
    bottom, step = look.height - look.size - 9.0, (look.height - look.size - 9.0 - top) / len(chart.labels)
    right -= length(written(max(chart.values)), look.face, look.size) + 2 if look.printed else 6

    def place(value: float) -> float:
        return left + value / marks[-1] * (right - left)

    for mark in marks:
        if look.grid:
            canvas.line([(place(mark), top), (place(mark), bottom)], _faint(look), 0.7)
        meant = _meaning_of_mark(chart, mark)
        canvas.text(place(mark), bottom + 4, written(mark), look.face, look.size - 1, look.ink, "mt", meant)
    half, meanings = step * (1 - look.gap) / 2, _meanings(chart)
    for index, (label, value) in enumerate(zip(chart.labels, chart.values, strict=True)):
        y = top + step * (index + 0.5)
        canvas.rectangle(left, y - half, place(value), y + half, _colour(chart, index))
        canvas.mark_all(left, y - half, place(value), y + half, meanings[index])
        if _labelled(chart):
            canvas.text(left - 5, y, label, look.face, size, look.ink, "rm", meanings[index])
        if look.printed:
            beside = place(value) + 3
            canvas.text(beside, y, written(value), look.face, look.size - 1, look.ink, "lm", meanings[index])
    canvas.line([(left, top), (left, bottom), (right, bottom)], look.ink)


def readable(chart: Chart) -> bool:
    """Whether no label runs into its neighbour."""
    look = chart.look
    if not _labelled(chart) or chart.kind == "pie" or (look.horizontal and chart.kind == "bar"):
        return max(length(label, look.face, SMALLEST) for label in chart.labels) <= look.width * 0.3
    room = (look.width - 46 - (look.width * 0.34 if look.legend else 0)) / len(chart.labels) - 2
    return max(length(label, look.face, SMALLEST) for label in chart.labels) <= room
