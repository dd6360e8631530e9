"""Scores of answers: what each is made of, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.errors import InvalidRequestError, MissingExtraError
from bezel.monitor import quality
from bezel.monitor.quality import Answered, Judge, Score, read_references


class Letters:
    """Embeds a text as how often each letter stands in it."""

    def embed(self, texts: Sequence[str], task: str | None = None, dimensions: int | None = None) -> Any:
        texts = [text + (task or "") for text in texts]
        rows = np.array([[text.lower().count(letter) for letter in "abcdefghij"] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def token_counts(self, texts: Sequence[str], task: str | None = None) -> list[int]:
        return [len(text) for text in texts]


def by_method(scores: list[Score]) -> dict[str, Score]:
    return {f"{score.respect}: {score.method}": score for score in scores}


def test_each_score_is_what_its_method_says() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    judge = Judge(Letters(), "letters", safety=lambda question, answer: Score("safety", 0.25, f"{question}{answer}"))
    found = by_method(judge.scores(Answered("a", "ab", [-0.5, -1.5], reference="abb")))
    assert set(found) == {
        "relevance: cosine of question and answer (letters)",
        "accuracy: cosine of answer and reference (letters)",
        "accuracy: chrF2 with the reference",
        "coherence: 1 / perplexity to the model itself",
        "safety: aab",
    }
    values = [score.value for score in found.values()]
    cosine = 3 / math.sqrt(2 * 5)
    chrf = sacrebleu.sentence_chrf("ab", ["abb"]).score / 100
    assert values == pytest.approx([1 / math.sqrt(2), cosine, chrf, math.exp(-1.0), 0.25])
    assert 0 < chrf < 1


def test_the_embedder_is_told_what_a_text_is() -> None:
    judge = Judge(Letters(), "letters", question_task="h", answer_task="i")
    relevance, likeness, _ = judge.scores(Answered("a", "a", reference="a"))
    assert (relevance.value, likeness.value) == pytest.approx((1 / 2, 1.0))


def test_what_nothing_judges_is_left_out() -> None:
    assert Judge().scores(Answered("a", "b")) == []
    assert Judge(Letters(), "letters").scores(Answered("a", "  ", [-1.0])) == []
    assert [score.respect for score in Judge().scores(Answered("a", "b", [-1.0]))] == ["coherence"]
    assert Judge(safety=lambda question, answer: None).scores(Answered("a", "b")) == []


def test_references_are_found_by_their_questions(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    file = tmp_path / "references.jsonl"
    file.write_text('{"question": " Two and two? ", "answer": "Four."}\n\n{"question": "x", "answer": "y"}\n', "utf-8")
    judge = Judge(references=read_references(file))
    right, wrong = (judge.scores(Answered("Two and two?", answer))[0].value for answer in ("Four.", "Seven."))
    assert right == pytest.approx(1.0) and wrong < 0.3
    assert judge.scores(Answered("Three?", "Four.")) == []


@pytest.mark.parametrize("line", ["[]", '{"question": "x"}', '{"question": 1, "answer": "y"}', "x"])
def test_a_line_that_is_no_reference_is_named(tmp_path: Path, line: str) -> None:
    pytest.importorskip("sacrebleu")
    file = tmp_path / "references.jsonl"
    file.write_text('{"question": "a", "answer": "b"}\n' + line, "utf-8")
    with pytest.raises(InvalidRequestError, match=r"references.jsonl:2: is not"):
        read_references(file)
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read_references(tmp_path / "none")


def test_without_its_package_a_reference_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(MissingExtraError, match=r"bezel\[quality\]"):
        read_references(tmp_path / "any")
    assert quality.Judge().scores(Answered("a", "b", [-1.0]))
