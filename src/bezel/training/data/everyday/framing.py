"""What surrounds requests: openers, reasons, closers, the joints of two calls, and the slips of hurried typing."""

import random
from itertools import pairwise

from bezel.training.data.everyday import Piece, Request, fillers, lexicon
from bezel.training.data.example import Split, choose

OPENERS, ASKS, REASONS, CLOSERS, JOINTS = (
    lexicon.FRAMING[name] for name in ("openers", "asks", "reasons", "closers", "joints")
)
STRONG_JOINTS = tuple(joint for joint in JOINTS if joint[0] in ".;\n")
PLAIN_JOINTS = (*STRONG_JOINTS, ", and ", " and ", ", oh and ", " - ", "; ", "? ", "! ")
OPENER_MARKS = (", ", ". ", "! ", ": ", " - ", "... ", "; ", "\n", "? ")
ASIDE_MARKS = (", ", ". ", ", so ", " - ", "; ", "! ", "... ", ", but ", ".\n")
_CAPITALISED_AFTER = (". ", "? ", "! ", "\n")


def _typo(rng: random.Random, text: str) -> str:
    at = rng.randrange(1, len(text) - 2) if len(text) > 6 else 0
    if not at or not text[at - 1 : at + 3].isalpha():
        return text
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return rng.choice((swapped, text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]))


def _capitalised(pieces: list[Piece]) -> list[Piece]:
    text, is_value = pieces[0]
    return [(text, True) if is_value else (text[:1].upper() + text[1:], False), *pieces[1:]]


def _joined(rng: random.Random, split: Split, requests: list[Request]) -> list[Piece]:
    pieces = list(requests[0].pieces)
    for before, after in pairwise(requests):
        if before.open_ended:
            joints: tuple[str, ...] = STRONG_JOINTS
        else:
            joints = JOINTS if before.kind == after.kind == "-" else PLAIN_JOINTS
        joint = choose(rng, split, joints)
        following = list(after.pieces)
        if joint.endswith(_CAPITALISED_AFTER) and rng.random() < 0.7:
            following = _capitalised(following)
        pieces += [(joint, False), *following]
    return pieces


def _marked(rng: random.Random, opener: str) -> str:
    return opener if rng.random() < 0.6 else opener.rstrip(" ,.:!") + rng.choice(OPENER_MARKS)


def _aside(rng: random.Random, split: Split) -> str:
    """A remark that asks for nothing: "my aunt is baking, so "."""
    return fillers.grown(rng, split, choose(rng, split, lexicon.GRAMMAR["aside"])) + choose(rng, split, ASIDE_MARKS)


def _opening(rng: random.Random, split: Split, kind: str) -> str:
    opening = ""
    if rng.random() < 0.3:
        opening += _marked(rng, choose(rng, split, OPENERS))
    if rng.random() < 0.17:
        opening += choose(rng, split, REASONS) if rng.random() < 0.6 else _aside(rng, split)
    if kind == "-" and rng.random() < 0.35:
        opening += choose(rng, split, ASKS)
    return opening


def frame(rng: random.Random, split: Split, requests: list[Request]) -> str:
    """One user message that asks for all `requests` in their order; values keep every letter."""
    pieces = _joined(rng, split, requests)
    if opening := _opening(rng, split, requests[0].kind):
        pieces.insert(0, (opening, False))
    last = requests[-1]
    if not last.open_ended and rng.random() < 0.22:
        pieces.append((choose(rng, split, CLOSERS), False))
    elif rng.random() < 0.6:
        pieces.append(({"?": "?"}.get(last.kind, rng.choice((".", ".", ".", "!"))), False))
    style = rng.random()
    if style < 0.3:
        pieces = [(text if is_value else text.lower(), is_value) for text, is_value in pieces]
    elif style < 0.9:
        pieces = _capitalised(pieces)
    if style < 0.1:
        pieces = [(text if is_value else text.replace("'", "").replace(",", ""), is_value) for text, is_value in pieces]
    if rng.random() < 0.08:
        slip = rng.randrange(len(pieces))
        pieces = [
            (_typo(rng, text) if place == slip and not is_value else text, is_value)
            for place, (text, is_value) in enumerate(pieces)
        ]
    return "".join(text for text, _ in pieces).strip()
