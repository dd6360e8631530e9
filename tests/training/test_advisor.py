"""The advisor's questions hold what their answers need."""

import random
import re

from bezel.catalog.variants import find
from bezel.training.data import advisor


def test_answers_name_real_variants_and_splits_share_no_pair_of_need_and_memory() -> None:
    seen: dict[str, set[str]] = {}
    for split in ("train", "held_out"):
        rng = random.Random(7)
        examples = [advisor.sample(rng, split) for _ in range(2000)]
        seen[split] = {example.messages[0]["content"] for example in examples}
        for example in examples:
            named = re.search(r"[a-z0-9]*gemma[\w.-]*[a-zA-Z0-9]", example.answer)
            if named is None:
                assert example.answer.startswith("No Gemma for")
            else:
                assert find(named[0]).name == named[0]
    assert len(seen["train"]) > 1990
    assert not seen["train"] & seen["held_out"]


def test_the_answer_is_the_catalogues() -> None:
    assert advisor.answer("audio", 3) == "gemma-3n-E2B-it at Q4_0."
    assert advisor.answer("audio", 1) == "Nothing fits. The smallest is gemma-3n-E2B-it at Q4_0."
    assert advisor.answer("text", 24, prefer="small") == "gemma-3-270m-it at BF16."
    assert advisor.answer("audio", 64, context=90_000) == "No Gemma for audio holds that context."
