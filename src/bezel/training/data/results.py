"""What functions returned, told in words: the answer behind calls and their results."""

import json
import random
from typing import Any

from bezel.text.calls import Call, parse_calls
from bezel.text.dialects.forms import PROMPTED
from bezel.training.data import calls, words
from bezel.training.data.example import Example, Split


def _value(rng: random.Random, split: Split) -> Any:
    kind = rng.random()
    if kind < 0.55:
        return words.text(rng, split)
    if kind < 0.9:
        return words.integer(rng)
    return rng.random() < 0.5


def _returned(rng: random.Random, split: Split, call: Call) -> Any:
    """A dictionary, as functions mostly return, of the call's arguments now and then; a text; or an error."""
    kind = rng.random()
    if kind < 0.1:
        return {"error": " ".join(words.text(rng, split) for _ in range(rng.randint(1, 3)))}
    if kind < 0.25:
        return " ".join(words.text(rng, split) for _ in range(rng.randint(1, 5)))
    names = rng.sample((*words.TEXT_PARAMETERS, *words.NUMBER_PARAMETERS, *words.FLAGS), rng.randint(1, 4))
    found = dict(call.arguments) if rng.random() < 0.4 else {}
    return found | {name: _value(rng, split) for name in names}


def _content(rng: random.Random, returned: Any) -> str:
    if isinstance(returned, str):
        return returned
    return json.dumps(returned, ensure_ascii=False, separators=rng.choice(((",", ":"), (", ", ": "))))


def told(name: str, returned: Any) -> str:
    """One result in words: "get weather: city Oslo, sky clear, warm yes."."""
    spoken = name.replace("_", " ")
    if isinstance(returned, str):
        return f"{spoken}: {returned}."
    if list(returned) == ["error"]:
        return f"{spoken} failed: {returned['error']}."
    said = {True: "yes", False: "no"}
    parts = (
        f"{key.replace('_', ' ')} {said[value] if isinstance(value, bool) else value}"
        for key, value in returned.items()
    )
    return f"{spoken}: {', '.join(parts)}."


def sample(rng: random.Random, split: Split) -> Example:
    """A request, the calls that answer it, what they returned, and that in words; tools are offered in half of them."""
    while True:
        asked = calls.sample(rng, split)
        made = parse_calls(asked.answer)
        if len(made) < 3 and len(asked.tools) < 4:
            break
    returned = [_returned(rng, split, call) for call in made]
    results = [(call.name, _content(rng, what)) for call, what in zip(made, returned, strict=True)]
    messages = (
        *asked.messages,
        {"role": "assistant", "content": PROMPTED.calls(made)},
        {"role": "user", "content": PROMPTED.results(results)},
    )
    answer = "\n".join(told(call.name, what) for call, what in zip(made, returned, strict=True))
    return Example(messages, asked.tools if rng.random() < 0.5 else (), answer, "results")
