"""tiny's chat template writes what tiny was trained on, and its two tokenizers split alike."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bezel.text.template import ChatTemplate
from bezel.text.tokenizer import Tokenizer
from bezel.training.data import advisor, calls, phrases, refusals, rendering

TEMPLATE = Path(__file__).parents[2] / "recipes" / "tiny" / "chat_template.jinja"
CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]


def byte_tokenizer() -> Tokenizer:
    pieces = [*CONTROL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    return Tokenizer.from_gguf(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": pieces,
            "tokenizer.ggml.scores": [0.0] * len(pieces),
            "tokenizer.ggml.token_type": [3] * len(CONTROL) + [6] * 256 + [1],
            "tokenizer.ggml.bos_token_id": 2,
            "tokenizer.ggml.eos_token_id": 1,
        },
        "bytes",
    )


@pytest.mark.parametrize("generator", [calls, advisor, phrases, refusals])
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
