"""Examples as the text that tiny is trained on; its chat template renders the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from bezel.training.data.example import Example, compact_json

END = "<end_of_turn>"


def tool_line(tool: Mapping[str, Any]) -> str:
    """One tool on one line: parameters by name, each with its type or its allowed values."""
    function = tool["function"]
    properties = function["parameters"]["properties"]
    kinds = {name: schema.get("enum") or schema["type"] for name, schema in properties.items()}
    return compact_json({"name": function["name"], "description": function["description"], "parameters": kinds})


def prompt(messages: Sequence[Mapping[str, str]], tools: Sequence[Mapping[str, Any]]) -> str:
    """The chat up to where the model answers, without the <bos> in front; tools stand before the first turn's text."""
    offered = "".join(tool_line(tool) + "\n" for tool in tools)
    turns = []
    for index, message in enumerate(messages):
        role = "user" if message["role"] == "user" else "model"
        turns.append(f"<start_of_turn>{role}\n{offered if index == 0 else ''}{message['content']}{END}\n")
    return "".join(turns) + "<start_of_turn>model\n"


def pair(example: Example) -> tuple[str, str]:
    """The prompt, and the answer with the token that ends it."""
    return prompt(example.messages, example.tools), example.answer + END


def strands(example: Example) -> tuple[str, list[tuple[str, str]]]:
    """What the example's questions begin with alike, and how each goes on: (rest of the prompt, answer)."""
    marker = f"<start_of_turn>user\n{''.join(tool_line(tool) + chr(10) for tool in example.tools)}"
    asked = [(example.messages, example.answer)]
    asked += [(({"role": "user", "content": user},), answer) for user, answer in example.more]
    rest = [(prompt(messages, example.tools).removeprefix(marker), answer + END) for messages, answer in asked]
    return marker, rest
