"""Which-Gemma-fits questions, answered by the catalogue's own advisor."""

import itertools
import random
import re
from functools import cache
from importlib import resources

from bezel.catalog.advisor import Preference, advise, least_memory
from bezel.catalog.needs import NEEDS
from bezel.errors import InvalidRequestError
from bezel.training.data.example import Example, Split, choose, held_out, single_turn

GIB = 2**30

_MEMORIES: tuple[float, ...] = (
    0.25,
    0.5,
    0.75,
    1,
    1.5,
    2,
    2.5,
    3,
    3.5,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    18,
    20,
    22,
    24,
)
_MEMORIES += (26, 28, 30, 32, 36, 40, 44, 48, 56, 60, 64, 72, 80, 96, 100, 128, 192, 256)
# Sizes that lie between the usual ones, so that the borders between two answers are seen from close by.
_BETWEEN: tuple[float, ...] = (
    *(tenths / 10 for tenths in range(3, 120)),
    *(halves / 2 for halves in range(24, 80)),
    *range(40, 140),
    *range(140, 320, 10),
)
_NEEDS = (*["text"] * 5, *["image"] * 4, *["audio"] * 3, *["video", "embedding", "safety"] * 2, *NEEDS)
_WITH_CONTEXT = ("text", "image", "audio")
_CONTEXTS = (8000, 10000, 16000, 20000, 24000, 30000, 32000, 40000, 50000, 64000, 70000, 90000, 110000, 120000, 128000)
_CONTEXT_SHARE: dict[Split, float] = {"train": 0.3, "held_out": 0.2}
_NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 8: "eight", 10: "ten", 12: "twelve"}
_NUMBER_WORDS |= {16: "sixteen", 20: "twenty", 24: "twenty-four", 32: "thirty-two", 64: "sixty-four"}

_TOKENS = ("{n} tokens", "{k}k tokens", "{k}K tokens", "{k} thousand tokens", "{comma} tokens", "{k}k")
_JOINTS = (", ", ". ", " and ", "; ", " - ", ", ", ". ", "\n")


def answer(need: str, memory_gb: float, context: int = 0, prefer: Preference = "best") -> str:
    """The advisor's answer in the words that the model learns; `memory_gb` in units of 2^30 bytes."""
    found = advise(memory_gb * GIB, need, context, prefer)
    if found:
        return f"{found[0].variant.name} at {found[0].level}."
    try:
        least = least_memory(need, context)
    except InvalidRequestError:
        return f"No Gemma for {need} holds that context."
    return f"Nothing fits. The smallest is {least.variant.name} at {least.level}."


def _memory(rng: random.Random, split: Split, gigabytes: float) -> str:
    if gigabytes < 1 and rng.random() < 0.6:
        return _phrase(rng, split, "unit small").format(n=int(gigabytes * rng.choice((1000, 1024))))
    number = f"{gigabytes:g}"
    if gigabytes in _NUMBER_WORDS and rng.random() < 0.15:
        number = _NUMBER_WORDS[int(gigabytes)]
    return _phrase(rng, split, "unit").format(n=number)


def _tokens(rng: random.Random, split: Split, context: int) -> str:
    return choose(rng, split, _TOKENS).format(n=context, k=context // 1000, comma=f"{context:,}")


def _size(rng: random.Random, split: Split) -> float:
    """Gigabytes. In training also sizes close to a usual one, from which the border of an answer may part them."""
    usual = rng.choice(_MEMORIES if rng.random() < 0.55 else _BETWEEN)
    if split == "held_out" or rng.random() < 0.7:
        return usual
    return round(usual * rng.uniform(0.88, 1.12), 2 if usual < 1 else 1)


def sample(rng: random.Random, split: Split) -> Example:
    """One question. Held out are pairs of need and memory, and in every slot one phrasing of eight."""
    while True:
        need = rng.choice(_NEEDS)
        gigabytes = _size(rng, split)
        if held_out(f"{need}@{gigabytes}") == (split == "held_out"):
            break
    prefer: Preference = "small" if rng.random() < 0.2 else "best"
    context = rng.choice(_CONTEXTS) if need in _WITH_CONTEXT and rng.random() < _CONTEXT_SHARE[split] else 0
    doing, thing = _phrase(rng, split, f"doing {need}"), _phrase(rng, split, f"thing {need}")
    having = _phrase(rng, split, "having").format(m=_memory(rng, split, gigabytes), d=_phrase(rng, "train", "device"))
    extras = [_phrase(rng, split, prefer)] if prefer == "small" or rng.random() < 0.4 else []
    extras += [_phrase(rng, split, "long").format(c=_tokens(rng, split, context))] if context else []
    extras += [_phrase(rng, split, "aside")] if rng.random() < 0.2 else []
    rng.shuffle(extras)
    if rng.random() < 0.5:
        wanting = _phrase(rng, split, "wanting").format(v=doing, t=thing)
        facts = [having, wanting]
        rng.shuffle(facts)
        facts += extras
        if rng.random() < 0.2:
            rng.shuffle(facts)
        asking = _phrase(rng, split, "asking")
        parts = [asking, *facts] if rng.random() < 0.3 else [*facts, asking] if rng.random() < 0.9 else facts
    else:
        parts = [_phrase(rng, split, "first").format(v=doing, t=thing), having, *extras]
        if rng.random() < 0.3:
            rng.shuffle(parts)
    if rng.random() < 0.15:
        parts = [_phrase(rng, split, "opening"), *parts]
    return single_turn(_sentences(rng, parts), answer(need, gigabytes, context, prefer), "advisor")


def _phrase(rng: random.Random, split: Split, slot: str) -> str:
    """A line of the slot, whatever the number of its phrasings, and one of the split's share of them."""
    phrasings = rng.choice(_lines()[slot, split])
    return rng.choice(phrasings)


@cache
def _lines() -> dict[tuple[str, str], list[list[str]]]:
    """Per slot and split: for every line of phrases.txt that has any, the phrasings of that split."""
    found: dict[tuple[str, str], list[list[str]]] = {}
    for section in resources.files(__package__).joinpath("phrases.txt").read_text("utf-8").split("\n[")[1:]:
        slot, *lines = section.strip().split("\n")
        phrasings = [expand(line) for line in lines]
        for split in ("train", "held_out"):
            shares = [[p for p in line if held_out(p) == (split == "held_out")] for line in phrasings]
            found[slot.rstrip("]"), split] = [share for share in shares if share]
    return found


def expand(line: str) -> list[str]:
    """Every text that a line with choices stands for: "a (b|c|)" is "a b", "a c" and "a "."""
    parts = re.split(r"\(([^()]*\|[^()]*)\)", line)
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return [" ".join("".join(chosen).split()) for chosen in itertools.product(*choices)]


def _sentences(rng: random.Random, parts: list[str]) -> str:
    text = parts[0]
    for part in parts[1:]:
        joint = rng.choice(_JOINTS)
        text += "? " + part if rng.random() < 0.1 else joint + (part[0].upper() + part[1:] if joint == ". " else part)
    style = rng.random()
    text = text.lower() if style < 0.2 else text[0].upper() + text[1:] if style < 0.85 else text
    return text + rng.choice(("?", ".", "", "?", "!", " please"))
