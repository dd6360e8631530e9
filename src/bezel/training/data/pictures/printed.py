"""Short printed text: signs, notices, receipts and numbers, and the question what is written there."""

from __future__ import annotations

import random

from bezel.training.data import words
from bezel.training.data.example import Split, choose
from bezel.training.data.pictures import looks, topics
from bezel.training.data.pictures.canvas import Canvas, length
from bezel.training.data.pictures.charts import SMALLEST, fitting
from bezel.training.data.pictures.seen import Asked, Seen

READ = (
    *(
        verb + what + end
        for verb in ("Read ", "Write down ", "Copy ", "Give me ", "Transcribe ", "Type out ")
        for what in ("the text", "what is written here", "the words", "what it says", "what is printed", "this")
        for end in (".", "", ", please.")
    ),
    "What does it say?",
    "What does the sign say?",
    "What is written here?",
    "What is printed here?",
    "What can you read?",
    "Which words are here?",
    "What text is in the picture?",
    "What does this say?",
)
PRICE = (
    "What does the {item} cost?",
    "How much is the {item}?",
    "What is the price of {item}?",
    "How much for {item}?",
    "{item}: what price?",
    "What was paid for {item}?",
    "And the {item}?",
    "Tell me the price of the {item}.",
)
ITEMS = tuple(item for group in ("fruit", "drink", "food") for item in topics.GROUPS[group])
_PAPERS: tuple[tuple[str, str], ...] = (
    ("#ffffff", "#111111"),
    ("#fdf6e3", "#333333"),
    ("#f2f2f2", "#1a237e"),
    ("#ffffff", "#7b1e1e"),
)
_BOARDS: tuple[tuple[str, str], ...] = (
    ("#1b5e20", "#ffffff"),
    ("#b71c1c", "#ffffff"),
    ("#0d47a1", "#ffffff"),
    ("#fbc02d", "#111111"),
)
_BOARDS += (("#212121", "#ffeb3b"), ("#37474f", "#eceff1"))


def sample(rng: random.Random, split: Split) -> Seen:
    """A sign, a notice, a receipt or numbers."""
    kind = rng.random()
    if kind < 0.3:
        return _plain(rng, split, _sign(rng, split), _BOARDS + _PAPERS, 30)
    if kind < 0.65:
        return _plain(rng, split, _notice(rng, split), _PAPERS + _BOARDS, 18)
    if kind < 0.75:
        return _plain(rng, split, [number(rng) for _ in range(rng.randint(1, 3))], _PAPERS, 26)
    return _receipt(rng, split)


def _sign(rng: random.Random, split: Split) -> list[str]:
    if rng.random() < 0.5:
        lines = [rng.choice(topics.SIGNS)]
    else:
        lines = [cased(rng, words.made_up(rng, split)) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.35:
        lines.append(number(rng))
    return lines


def _notice(rng: random.Random, split: Split) -> list[str]:
    return [" ".join(_word(rng, split) for _ in range(rng.randint(1, 3))) for _ in range(rng.randint(1, 4))]


def _word(rng: random.Random, split: Split) -> str:
    kind = rng.random()
    if kind < 0.15:
        return str(rng.randrange(1, 10 ** rng.randint(1, 4)))
    word = words.made_up(rng, split) if kind < 0.6 else rng.choice(KNOWN)
    return cased(rng, word) + rng.choice(("", "", "", "", ".", ",", "!", "?", ":"))


KNOWN = (*(word for group in topics.GROUPS.values() for word in group), *topics.SMALL_WORDS)


def cased(rng: random.Random, word: str) -> str:
    """A word as it stands, in small letters, in capitals, or with one."""
    return rng.choice((word, word, word.lower(), word.upper(), word.capitalize()))


def number(rng: random.Random) -> str:
    """A time, a date, a place, a share, a price, or plain numbers."""
    kind = rng.randrange(6)
    if kind == 0:
        return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}"
    if kind == 1:
        return f"{rng.randint(1, 31)}.{rng.randint(1, 12)}.{rng.randint(1990, 2030)}"
    if kind == 2:
        return f"{rng.choice('ABCDEFGHKLMNPRSTUVWXYZ')}{rng.randint(1, 99)}"
    if kind == 3:
        return f"{rng.randint(1, 99)}%"
    if kind == 4:
        return f"{rng.randint(1, 99)}.{rng.randint(0, 99):02d} EUR"
    return " ".join(str(rng.randint(0, 999)) for _ in range(rng.randint(1, 3)))


def _plain(
    rng: random.Random, split: Split, lines: list[str], colours: tuple[tuple[str, str], ...], largest: int
) -> Seen:
    """Lines one below the other: in the middle, or along the left side."""
    width, height = rng.choice(looks.SHAPES)
    paper, ink = choose_pair(rng, split, colours)
    face = looks.face(rng, split)
    smallest = max(SMALLEST + 3, 11 * width // 256)
    size = fitting(lines, face, rng.randint(smallest, max(smallest, largest * width // 256)), width - 16)
    size = max(SMALLEST, min(size, (height - 12) // (len(lines) + 1)))
    canvas = Canvas(width, height, paper)
    left, step = rng.random() < 0.4, size * rng.uniform(1.15, 1.6)
    y = rng.uniform(size, max(size + 1.0, height - step * len(lines)))
    for line in lines:
        canvas.text(8 if left else width / 2, y, line, face, size, ink, "lm" if left else "mm")
        y += step
    return Seen(canvas.finished(), (Asked(choose(rng, split, READ), "\n".join(lines), "text"),))


def choose_pair(rng: random.Random, split: Split, colours: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Paper and ink of the split's share."""
    paper, ink = choose(rng, split, [" ".join(pair) for pair in colours]).split()
    return paper, ink


def _receipt(rng: random.Random, split: Split) -> Seen:
    """Items with prices to the right of them, and their sum."""
    count = rng.randint(2, 4)
    names = rng.sample(ITEMS, count)
    if rng.random() < 0.4:
        names[0] = words.made_up(rng, split).capitalize()
    cents = [rng.randrange(20, 1500, rng.choice((1, 5, 10))) for _ in names]
    lines = [(name, f"{cent // 100}.{cent % 100:02d}") for name, cent in zip(names, cents, strict=True)]
    if rng.random() < 0.8:
        lines.append((rng.choice(("Total", "TOTAL", "Sum")), f"{sum(cents) // 100}.{sum(cents) % 100:02d}"))
    width, height = rng.choice(looks.SHAPES)
    paper, ink = choose_pair(rng, split, _PAPERS)
    face, size = looks.face(rng, split), rng.randint(12, 18) * width // 256
    size = fitting([f"{name}   {price}" for name, price in lines], face, size, width - 20)
    canvas = Canvas(width, height, paper)
    right = rng.uniform(0.6, 0.95) * width
    right = max(right, 12 + max(length(f"{name}  {price}", face, size) for name, price in lines))
    step = min(size * rng.uniform(1.3, 1.8), (height - 12) / len(lines))
    y = rng.uniform(size, max(size + 1.0, height - step * len(lines)))
    for name, price in lines:
        canvas.text(10, y, name, face, size, ink, "lm")
        canvas.text(min(right, width - 6), y, price, face, size, ink, "rm")
        y += step
    whole = "\n".join(f"{name} {price}" for name, price in lines)
    asked = [Asked(choose(rng, split, READ), whole, "text")]
    name, price = rng.choice(lines)
    asked.append(Asked(choose(rng, split, PRICE).format(item=name), price, "text"))
    return Seen(canvas.finished(), tuple(asked))
