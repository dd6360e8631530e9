"""The scores count what they say they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bezel.text.calls import Call
from bezel.training.data import handwritten
from bezel.training.evaluation import evaluate, generated, same_calls, variant_of, written_by_hand


def test_order_does_not_count_and_everything_else_does() -> None:
    expected = [Call("f", {"a": 1, "b": "x"}), Call("g", {})]
    f, g = '{"name":"f","parameters":{"b":"x","a":1}}', '{"name":"g","parameters":{}}'
    assert same_calls(f"[{g},{f}]", expected)
    for wrong in (f, f"[{f},{f}]", f"[{f},{g},{g}]", f"[{f.replace('1', '2')},{g}]", "none", f"[{f},{g}"):
        assert not same_calls(wrong, expected)


@pytest.mark.parametrize(
    ("answer", "variant"),
    [
        ("gemma-3-4b-it at Q4_0.", "gemma-3-4b-it"),
        ("Nothing fits. The smallest is embeddinggemma-300m at Q8_0.", "embeddinggemma-300m"),
        ("No idea", None),
    ],
)
def test_the_variant_is_found_in_an_answer(answer: str, variant: str | None) -> None:
    assert variant_of(answer) == variant


def test_right_answers_score_all_and_silence_nothing() -> None:
    def silent(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
        return ""

    scores = list(evaluate(silent, 5))
    assert all(score.right == 0 for score in scores)
    assert sum(score.total for score in scores if score.name.startswith("by hand")) == len(handwritten.load()) == 100
    assert all(score.total == 5 for score in scores if not score.name.startswith("by hand"))


def test_large_calls_are_large_and_small_ones_small() -> None:
    sets = generated(30)
    for name, (_, questions) in sets.items():
        assert len({q.messages[0]["content"] for q in questions}) >= 20, name
    assert set(written_by_hand()) == {f"by hand: {task}" for task in handwritten.TASKS}
