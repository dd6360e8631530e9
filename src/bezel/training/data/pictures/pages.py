"""Pages full of text in every face, size and colour, on which a tower learns to read: as many letters as find room."""

from __future__ import annotations

import colorsys
import random

from bezel.training.data import words
from bezel.training.data.example import Split
from bezel.training.data.pictures import looks, printed, topics
from bezel.training.data.pictures.canvas import Canvas, Drawn, length

SMALLEST, LARGEST = 7, 24  # pixels of a letter in 256 of the page
LINES = 20  # on a page, at most: what a row of soft tokens shows is then in one order
LETTERS = "".join(chr(code) for code in range(33, 127)) + "é"
_WORDS = (*printed.KNOWN, *topics.COUNTED)


def page(rng: random.Random, split: Split) -> Drawn:
    """Bands of text from the top to the bottom, each with its own look; here and there a bar or a line of a chart."""
    width, height = rng.choice(looks.SHAPES)
    canvas = Canvas(width, height, "#ffffff")
    top = 0.0
    while top < height:
        size = round(SMALLEST * (LARGEST / SMALLEST) ** (rng.random() ** 1.5)) * width // 256
        step = max(size * rng.uniform(1.15, 1.7), height / LINES)
        band = min(height - top, step * rng.randint(1, 4))
        paper, ink = _colours(rng)
        canvas.rectangle(0, top, width, top + band, paper)
        _shapes(rng, canvas, top, band)
        face = looks.face(rng, split)
        y = top + step / 2
        while y + size / 2 <= top + band + 1:
            _line(rng, split, canvas, y, face, size, ink)
            y += step
        top += band
    return canvas.finished()


def _line(rng: random.Random, split: Split, canvas: Canvas, y: float, face: str, size: int, ink: str) -> None:
    x = rng.uniform(2, 24)
    while True:
        text = _text(rng, split)
        wide = length(text, face, size)
        if x + wide > canvas.width - 2:
            return
        canvas.text(x, y, text, face, size, ink, "lm")
        x += wide + size * rng.uniform(0.25, 1.5)


def _text(rng: random.Random, split: Split) -> str:
    """A word, a number, or letters in no order, of which rare ones are as many as common ones."""
    kind = rng.random()
    if kind < 0.25:
        return printed.number(rng)
    if kind < 0.4:
        return "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 6)))
    return printed.cased(rng, words.made_up(rng, split) if kind < 0.75 else rng.choice(_WORDS))


def _colours(rng: random.Random) -> tuple[str, str]:
    """Paper and ink that stand apart, either of them dark; black on white in a third of all."""
    if rng.random() < 0.33:
        return "#ffffff", "#222222"
    dark = _colour(rng, rng.uniform(0.05, 0.32))
    light = _colour(rng, rng.uniform(0.78, 1.0))
    return (light, dark) if rng.random() < 0.6 else (dark, light)


def _colour(rng: random.Random, lightness: float) -> str:
    parts = colorsys.hls_to_rgb(rng.random(), lightness, rng.random())
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)


def _shapes(rng: random.Random, canvas: Canvas, top: float, height: float) -> None:
    """In half of all bands a bar, a line or a disc behind the text, faint enough to read over."""
    if rng.random() < 0.5:
        return
    colour = "#888888"
    for _ in range(rng.randint(1, 3)):
        x, kind = rng.uniform(0, canvas.width), rng.randrange(3)
        if kind == 0:
            canvas.line([(x, top), (x, top + height)], colour)
        elif kind == 1:
            y = rng.uniform(top, top + height)
            canvas.line([(x, y), (rng.uniform(0, canvas.width), y)], colour)
        else:
            canvas.disc(x, rng.uniform(top, top + height), rng.uniform(1, 3), colour)
