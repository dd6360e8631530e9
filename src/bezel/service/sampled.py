"""A share of the answers, judged beside the work of the server. What was said is let go with its scores."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bezel.backends.interface import Delta, Finish, Request
from bezel.monitor.quality import Answered, Judge, Score
from bezel.safety.content import ContentPolicy
from bezel.text.messages import parts_of

BUSY = "busy"
_WAITING = 16
"""Answers that wait to be judged; others are not, so that judging never holds up the server."""


@dataclass
class Sample:
    """An answer of which the parts are kept, because it will be judged."""

    model: str
    question: str
    texts: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, event: Delta) -> None:
        """A piece of the answer."""
        self.texts.append(event.text)
        self.logprobs += [token.logprob for token in event.tokens]


class Samples:
    """Chooses answers and has them judged, one after another, on a thread. Used from the server's loop.

    `note` is told of each score and its model; `passed` of an answer that was chosen and not judged, and why.
    """

    def __init__(
        self, judge: Judge, note: Callable[[str, Score], None], passed: Callable[[str], None], draw: random.Random
    ) -> None:
        self._judge, self._note, self._passed, self._draw = judge, note, passed, draw
        self._pool = ThreadPoolExecutor(1, "bezel-judge")
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, model: str, request: Request, share: float) -> Sample | None:
        """A sample of `share` of those requests whose question is a text; None of the others."""
        question = _question(request)
        return Sample(model, question) if question and self._draw.random() < share else None

    def end(self, sample: Sample, finish: Finish) -> None:
        """Judge an answer that has ended by itself or at its length; soon, and not here."""
        if finish.reason not in ("stop", "length"):
            return
        if len(self._tasks) >= _WAITING:
            self._passed(BUSY)
            return
        task = asyncio.ensure_future(self._judged(sample))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Judge no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _judged(self, sample: Sample) -> None:
        answered = Answered(sample.question, "".join(sample.texts), sample.logprobs)
        try:
            scores: Sequence[Score] = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._judge.scores, answered
            )
        except Exception as error:  # whatever a judge raises costs a score and no answer; its words may hold content
            self._passed(type(error).__name__)
            return
        for score in scores:
            self._note(sample.model, score)


def safety(policy: ContentPolicy, question: str, answer: str) -> Score | None:
    """1 less the most probable violation that the guard of texts sees, or whether a rule for answers finds something.

    None where the policy does not look at answers.
    """
    guard = policy.guard
    if guard is not None and guard.texts is not None:
        verdict = guard.text(question, answer)
        return Score(
            "safety", 1 - max(verdict.probabilities.values()), f"1 - probability of a violation ({guard.name})"
        )
    rules = policy.of_side("output")
    if not rules:
        return None
    return Score("safety", float(not any(rule.finds_disguised(answer) for rule in rules)), "no rule finds something")


def _question(request: Request) -> str:
    """The last words of the user; "" where there are none."""
    if request.messages is None:
        return request.prompt if isinstance(request.prompt, str) else ""
    for message in reversed(request.messages):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return "\n".join(part["text"] for part in parts_of(message) if part.get("type") == "text")
    return ""
