"""The generators: same seed same rows, splits that share nothing, answers that agree with their questions."""

import json
import random
import re

import pytest

from bezel.training.data import calls, copying, phrases, refusals, sums, words
from bezel.training.data.example import held_out

GENERATORS = [calls, copying, phrases, refusals, sums]


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_seed_decides_the_rows(generator, split):
    first = [generator.sample(random.Random(5), split) for _ in range(3)]
    assert first[0] == first[1] == first[2]
    assert len({generator.sample(random.Random(seed), split).messages[0]["content"] for seed in range(60)}) > 20


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_calls_fit_the_tools_on_offer(split):
    rng, two = random.Random(1), 0
    for _ in range(400):
        example = calls.sample(rng, split)
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in example.tools}
        answer = json.loads(example.answer)
        two += isinstance(answer, list)
        for call in answer if isinstance(answer, list) else [answer]:
            assert set(call["parameters"]) <= set(schemas[call["name"]]["properties"])
    assert 130 < two < 210


def test_sums_are_right_and_pairs_are_held_out():
    for split in ("train", "held_out"):
        rng = random.Random(2)
        for _ in range(300):
            match = re.fullmatch(r"(\d+) ([+-]) (\d+) = (\d+)", sums.sample(rng, split).answer)
            a, sign, b, result = int(match[1]), match[2], int(match[3]), int(match[4])
            assert result == (a + b if sign == "+" else a - b)
            assert held_out(f"{a}{sign}{b}") == (split == "held_out")


def test_made_up_words_of_the_two_splits_differ():
    rng = random.Random(3)
    seen = {split: {words.made_up(rng, split) for _ in range(500)} for split in ("train", "held_out")}
    assert not seen["train"] & seen["held_out"]
