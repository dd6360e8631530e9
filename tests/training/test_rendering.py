"""tiny's chat template writes what tiny was trained on, and its two tokenizers split alike."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bezel.testing import byte_tokenizer
from bezel.text.template import ChatTemplate
from bezel.training.data import advisor, calls, phrases, refusals, rendering, results

TEMPLATE = Path(__file__).parents[2] / "recipes" / "tiny" / "chat_template.jinja"


@pytest.mark.parametrize("generator", [calls, advisor, phrases, refusals, results])
def test_the_template_writes_what_was_trained_on(generator: object) -> None:
    tokenizer = byte_tokenizer()
    template = ChatTemplate(tokenizer, TEMPLATE.read_text("utf-8"))
    rng = random.Random(3)
    for _ in range(100):
        example = generator.sample(rng, "train")  # type: ignore[attr-defined]
        prompt, _ = rendering.pair(example)
        ids = template.encode(example.messages, example.tools)
        assert tokenizer.decode(ids, keep_control=True) == "<bos>" + prompt


def test_a_tool_is_one_line_of_names_and_types() -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "f",
            "description": 'say "x"',
            "parameters": {"properties": {"a": {"type": "integer"}, "b": {"type": "string", "enum": ["u", "v"]}}},
        },
    }
    assert rendering.tool_line(tool) == (
        '{"name":"f","description":"say \\"x\\"","parameters":{"a":"integer","b":["u","v"]}}'
    )
