"""tiny's held-out scores: exact answers, task by task."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

from bezel.text.calls import Call, parse_calls
from bezel.training.data import advisor, calls, copying, handwritten, phrases, refusals, results, sums
from bezel.training.data.example import Example, Generator, Split

SEED = 20_261


class Answerer(Protocol):
    """What is evaluated: answers one conversation, greedily."""

    def __call__(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str: ...


@dataclass(frozen=True)
class Score:
    """A set of questions, the share of right answers that it asks for (None: only reported), and what was got."""

    name: str
    right: int
    total: int
    target: float | None = None

    @property
    def share(self) -> float:
        """Right answers of all, 0 to 1."""
        return self.right / self.total


@dataclass(frozen=True)
class Question:
    """What is asked and whether an answer is right."""

    messages: tuple[dict[str, str], ...]
    tools: tuple[dict[str, Any], ...]
    is_right: Callable[[str], bool]


def variant_of(answer: str) -> str | None:
    """The variant that an advisor's answer names, or None."""
    found = re.search(r"[a-z0-9]*gemma[\w.-]*\w", answer)
    return found[0] if found else None


def same_calls(answer: str, expected: Sequence[Call]) -> bool:
    """Whether the answer consists of exactly these calls; the order of calls and of arguments does not count."""

    def sorted_calls(found: Iterable[Call]) -> list[tuple[str, list[tuple[str, Any]]]]:
        return sorted(((c.name, sorted(c.arguments.items())) for c in found), key=repr)

    return sorted_calls(parse_calls(answer)) == sorted_calls(expected)


def _exact(example: Example) -> Question:
    return Question(example.messages, example.tools, lambda answer: answer.strip() == example.answer)


def _variant(example: Example) -> Question:
    fits = "Nothing fits" in example.answer

    def is_right(answer: str) -> bool:
        if variant_of(example.answer) is None:
            return answer.strip() == example.answer
        return variant_of(answer) == variant_of(example.answer) and ("Nothing fits" in answer) == fits

    return Question(example.messages, example.tools, is_right)


def _calls(example: Example) -> Question:
    expected = parse_calls(example.answer)
    return Question(example.messages, example.tools, lambda answer: same_calls(answer, expected))


def _drawn(generator: Generator, split: Split, seed: int) -> Iterator[Example]:
    rng = random.Random(seed)
    while True:
        yield generator(rng, split)


def _large(example: Example) -> bool:
    found = parse_calls(example.answer)
    return len(found) > 1 or any(len(call.arguments) > 3 for call in found)


def generated(count: int) -> dict[str, tuple[float | None, list[Question]]]:
    """The sets of `count` generated questions each, with their targets.

    The words of a tool's name, its parameters and their values are known or such that training never shows; so are the
    phrasings of a request. Targets for calls are about words; the sets in which both are unseen are only reported.
    """
    known_phrasings = partial(calls.sample, wording="train")
    indirect = partial(calls.sample_of_several, questions=1, everyday_share=1.0, wording="held_out", indirect_share=1.0)
    known = _drawn(calls.sample, "train", SEED)
    unseen, unseen_as_well = _drawn(known_phrasings, "held_out", SEED + 1), _drawn(calls.sample, "held_out", SEED + 1)
    more, more_as_well = _drawn(known_phrasings, "held_out", SEED + 2), _drawn(calls.sample, "held_out", SEED + 2)
    sets: dict[str, tuple[float | None, Iterator[Question]]] = {
        "advisor, unseen phrasings and combinations": (0.95, map(_variant, _drawn(advisor.sample, "held_out", SEED))),
        "calls, known words": (0.90, map(_calls, (e for e in known if not _large(e)))),
        "calls, words never seen": (0.80, map(_calls, (e for e in unseen if not _large(e)))),
        "calls, words and phrasings never seen": (None, map(_calls, (e for e in unseen_as_well if not _large(e)))),
        "calls, several or four arguments, unseen words": (0.60, map(_calls, (e for e in more if _large(e)))),
        "calls, the same with unseen phrasings": (None, map(_calls, (e for e in more_as_well if _large(e)))),
        "calls, everyday tools, asked indirectly": (None, map(_calls, _drawn(indirect, "train", SEED))),
        "sums, known phrasings": (0.98, map(_exact, _drawn(sums.sample, "train", SEED))),
        "sums, unseen phrasings": (0.90, map(_exact, _drawn(sums.sample, "held_out", SEED))),
        "refusals, unseen shapes": (0.95, map(_exact, _drawn(refusals.sample, "held_out", SEED))),
        "phrases, unseen phrasings": (None, map(_exact, _drawn(phrases.sample, "held_out", SEED))),
        "results told, unseen words": (None, map(_exact, _drawn(results.sample, "held_out", SEED))),
        "copying, unseen words": (None, map(_exact, _drawn(copying.sample, "held_out", SEED))),
    }
    return {name: (target, list(islice(questions, count))) for name, (target, questions) in sets.items()}


_TARGETS = {"advisor": 0.80, "calls": 0.50}


def written_by_hand() -> dict[str, tuple[float | None, list[Question]]]:
    """The frozen requests that people would write, by task."""
    sets: dict[str, tuple[float | None, list[Question]]] = {
        f"by hand: {task}": (_TARGETS.get(task), []) for task in handwritten.TASKS
    }
    for request in handwritten.load():
        message = ({"role": "user", "content": request.user},)
        sets[f"by hand: {request.task}"][1].append(Question(message, request.tools, _hand_check(request)))
    return sets


def _hand_check(request: handwritten.Request) -> Callable[[str], bool]:
    expect = request.expect
    if request.task == "advisor":
        wanted = advisor.answer(expect["need"], expect["memory_gb"], expect["context"], expect["prefer"])
        return _variant(Example((), (), wanted, "advisor")).is_right
    if request.task == "calls":
        expected = [Call(call["name"], call["arguments"]) for call in expect]
        return lambda answer: same_calls(answer, expected)
    if request.task == "sums":
        return lambda answer: re.findall(r"-?\d+", answer)[-1:] == [str(expect["value"])]
    if request.task == "refusals":
        return lambda answer: answer.strip() == refusals.ANSWER
    return lambda answer: any(text.lower() in answer.lower() for text in expect["any_of"])


def evaluate(answer: Answerer, count: int = 200) -> Iterator[Score]:
    """Score every set, one after the other."""
    for name, (target, questions) in (generated(count) | written_by_hand()).items():
        right = sum(question.is_right(answer(question.messages, question.tools)) for question in questions)
        yield Score(name, right, len(questions), target)
